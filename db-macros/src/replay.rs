//! How does an argument survive a second attempt?
//!
//! The body may use up what it is given, so each attempt begins with arguments of its own: what was passed by value is
//! cloned, a `&mut` lent anew, a `&` is as it was. The user's pattern moves inside with it; the caller's signature keeps
//! the name.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Block, Expr, Macro, Pat, PatIdent, PatType, Receiver, ReceiverKind, Type};

use crate::function;

/// How a parameter is handed to the function.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passing {
    Shared,
    Exclusive,
    Value,
}

fn passing(ty: &Type) -> Passing {
    match function::plain(ty) {
        Type::Reference(reference) if reference.mutability.is_some() => Passing::Exclusive,
        Type::Reference(_) => Passing::Shared,
        _ => Passing::Value,
    }
}

/// A parameter, taken apart.
pub(crate) struct Replayed {
    /// What the caller sees.
    pub(crate) caller: PatType,
    /// The name by which the generated code refers to it.
    pub(crate) name: Ident,
    /// The `let` that each attempt begins with.
    pub(crate) fresh: Option<TokenStream>,
}

/// `rows: &mut Vec<Row>` and `let rows = &mut *rows;`, `names: Names` and `let names = Clone::clone(&names);`
///
/// `is_named_by_us`: it is the database, which the generated code refers to.
pub(crate) fn replay(mut parameter: PatType, index: usize, is_named_by_us: bool) -> Replayed {
    let mut passing = passing(&parameter.ty);
    let attrs = &parameter.attrs;
    let pat = &parameter.pat;
    let name = match &**pat {
        Pat::Ident(pat) if is_plain(pat) && pat.mutability.is_none() && passing == Passing::Shared && (is_used(pat) || !is_named_by_us) => {
            return Replayed { name: pat.ident.clone(), caller: parameter, fresh: None };
        }
        // `on = store.db` sees the parameters, so they keep their names.
        Pat::Ident(pat) if is_plain(pat) && is_used(pat) => pat.ident.clone(),
        pat => hidden_name(pat, &format!("__argument{index}")),
    };
    if passing == Passing::Shared && matches!(&**pat, Pat::Ident(pat) if !is_used(pat)) {
        // A reference is copied, by a call: clippy would see a binding that does nothing.
        passing = Passing::Value;
    }
    let value = anew(&name, &parameter.ty, passing);
    let fresh = (!matches!(**pat, Pat::Wild(_))).then(|| quote_spanned!(Span::mixed_site()=> #(#attrs)* let #pat = #value;));
    parameter.attrs = without_expectations(attrs);
    *parameter.pat = Pat::Verbatim(name.to_token_stream());
    Replayed { caller: parameter, name, fresh }
}

/// What an attempt gets for an argument. The tokens lie on the type: a type that is not `Clone` is reported there.
fn anew(name: &Ident, ty: &Type, passing: Passing) -> TokenStream {
    let (first, last) = ends(ty);
    match passing {
        Passing::Shared => name.to_token_stream(),
        Passing::Exclusive => quote_spanned!(first=> &mut *#name),
        Passing::Value => {
            let mut name = name.clone();
            name.set_span(last.resolved_at(name.span()));
            let clone = Ident::new("clone", last);
            quote_spanned!(first=> ::core::clone::Clone::#clone(&#name))
        }
    }
}

/// `self` cannot be bound anew. Where an attempt could use it up, the body works on a clone under another name.
pub(crate) fn replay_receiver(mut receiver: Receiver, block: &mut Group) -> (Receiver, Option<TokenStream>) {
    let (passing, ty) = match &receiver.kind {
        ReceiverKind::Value => (Passing::Value, None),
        ReceiverKind::Typed(_, ty) => (passing(ty), Some(&**ty)),
        _ => (Passing::Shared, None),
    };
    if passing != Passing::Value && receiver.mutability.is_none() {
        return (receiver, None);
    }
    let Some(renamed) = rename_self(block) else {
        return (receiver, None);
    };
    *block = renamed;
    let this = this(receiver.self_token.span);
    let self_type = syn::parse_quote_spanned!(receiver.self_token.span=> Self);
    let itself = Ident::new("self", receiver.self_token.span);
    let value = anew(&itself, ty.unwrap_or(&self_type), passing);
    let mutability = receiver.mutability.take();
    let fresh = quote_spanned!(Span::mixed_site()=> let #mutability #this = #value;);
    (receiver, Some(fresh))
}

fn this(span: Span) -> Ident {
    Ident::new("__self", hidden(span))
}

/// The block with `self` under its other name; `None` where it has none, or where it is in no syntax that we know.
fn rename_self(block: &Group) -> Option<Group> {
    let mut syntax: Block = syn::parse2(block.to_token_stream()).ok()?;
    let mut rename = RenameSelf { found: false };
    rename.visit_block_mut(&mut syntax);
    let mut tokens = syntax.into_token_stream().into_iter();
    match (rename.found, tokens.next()) {
        (true, Some(TokenTree::Group(block))) => Some(block),
        _ => None,
    }
}

struct RenameSelf {
    found: bool,
}

impl RenameSelf {
    /// In a macro's arguments, which are only tokens: every `self` but that of a path, `self::helper`.
    fn rename_in(&mut self, tokens: TokenStream) -> TokenStream {
        let mut tokens = tokens.into_iter().peekable();
        let mut renamed = TokenStream::new();
        while let Some(token) = tokens.next() {
            renamed.extend([match token {
                TokenTree::Ident(word) if word == "self" && !is_colon(tokens.peek()) => {
                    self.found = true;
                    TokenTree::Ident(this(word.span()))
                }
                TokenTree::Group(group) => {
                    let stream = self.rename_in(group.stream());
                    TokenTree::Group(function::with_stream(&group, stream))
                }
                token => token,
            }]);
        }
        renamed
    }
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

impl VisitMut for RenameSelf {
    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        if let Expr::Path(path) = expr {
            if path.path.is_ident("self") {
                self.found = true;
                path.path = this(path.span()).into();
            }
        } else {
            visit_mut::visit_expr_mut(self, expr);
        }
    }

    fn visit_macro_mut(&mut self, mac: &mut Macro) {
        mac.tokens = self.rename_in(std::mem::take(&mut mac.tokens));
    }

    /// An item inside the body has a `self` of its own.
    fn visit_item_mut(&mut self, _: &mut syn::Item) {}
}

/// The span of what the user wrote, for tokens that only the macro can refer to.
pub(crate) fn hidden(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}

/// The spans of the first and the last token: what begins with one and ends with the other lies on all between.
pub(crate) fn ends(tokens: &impl ToTokens) -> (Span, Span) {
    let spans: Vec<Span> = tokens.to_token_stream().into_iter().map(|token| token.span()).collect();
    let end = |span: Option<&Span>| hidden(span.copied().unwrap_or_else(Span::mixed_site));
    (end(spans.first()), end(spans.last()))
}

/// The user's name, for the docs and the editor, in a form that nothing but the generated code can refer to.
pub(crate) fn hidden_name(pat: &Pat, otherwise: &str) -> Ident {
    let mut name = match pat {
        Pat::Ident(pat) if is_plain(pat) => pat.ident.clone(),
        pat => Ident::new(otherwise, pat.span()),
    };
    name.set_span(hidden(name.span()));
    name
}

/// No name that begins with `_`: clippy would see it used.
fn is_used(pat: &PatIdent) -> bool {
    !pat.ident.unraw().to_string().starts_with('_')
}

/// `name` or `mut name`.
fn is_plain(pat: &PatIdent) -> bool {
    pat.by_ref.is_none() && pat.subpat.is_none()
}

/// The generated code uses every parameter that it names: `#[expect(unused_variables)]` can come true only inside.
pub(crate) fn without_expectations(attrs: &[Attribute]) -> Vec<Attribute> {
    attrs.iter().filter(|attr| !attr.path().is_ident("expect")).cloned().collect()
}
