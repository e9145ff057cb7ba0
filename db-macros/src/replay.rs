//! The arguments of each attempt.
//!
//! The body may use up what it is given, so each attempt begins with its own arguments: what was passed by value is cloned, a `&mut` is
//! lent anew, a `&` stays as it is. The user's pattern moves inside with it; the caller's signature keeps the name.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Block, Expr, Macro, Pat, PatIdent, PatType, PathArguments, Receiver, ReceiverKind, Type};

use crate::function;
use crate::lints::{self, inside, without_expectations};
use crate::runtime::Private;

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

/// A type of which clippy knows that it is copied.
fn is_primitive(ty: &Type) -> bool {
    const PRIMITIVE: &str = "bool char f32 f64 i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize";
    function::path(ty).and_then(|path| path.get_ident()).is_some_and(|name| PRIMITIVE.split(' ').any(|primitive| name == primitive))
}

/// A parameter, taken apart.
pub(crate) struct Replayed {
    /// What the caller sees.
    pub(crate) caller: PatType,
    /// The name by which the generated code refers to it.
    pub(crate) name: Ident,
    /// The `let` that each attempt begins with.
    pub(crate) fresh: Option<TokenStream>,
    /// Moves the argument on entry. Without it clippy would advise to lend what is only cloned, whatever the body does with the clone.
    pub(crate) moved: Option<TokenStream>,
}

/// Options see the parameters, such as the `store` of `on = store.db`: here under the names that the generated code has for them.
#[derive(Default)]
pub(crate) struct Hide {
    /// As the user wrote them.
    names: Vec<Ident>,
    found: Vec<bool>,
}

impl Hide {
    pub(crate) fn add(&mut self, name: Ident) {
        self.names.push(name);
        self.found.push(false);
    }

    /// Uses, in each attempt, what an option uses: a body need not.
    pub(crate) fn used(&self) -> impl Iterator<Item = TokenStream> {
        let found = self.names.iter().zip(&self.found).filter(|(_, found)| **found);
        found.map(|(name, _)| quote_spanned!(Span::mixed_site()=> let _ = &#name;))
    }

    fn hide_in(&mut self, tokens: TokenStream) -> TokenStream {
        let hide = |token| match token {
            TokenTree::Ident(mut word) => {
                self.visit(&mut word);
                TokenTree::Ident(word)
            }
            TokenTree::Group(group) => TokenTree::Group(function::with_stream(&group, self.hide_in(group.stream()))),
            token => token,
        };
        tokens.into_iter().map(hide).collect()
    }

    /// Only a local variable is found, or not found, by its span: a field or a function of this name still is.
    fn visit(&mut self, word: &mut Ident) {
        if let Some(index) = self.names.iter().position(|name| name == word) {
            self.found[index] = true;
            word.set_span(hidden(word.span()));
        }
    }
}

impl VisitMut for Hide {
    fn visit_ident_mut(&mut self, word: &mut Ident) {
        self.visit(word);
    }

    fn visit_macro_mut(&mut self, mac: &mut Macro) {
        mac.tokens = self.hide_in(std::mem::take(&mut mac.tokens));
    }
}

/// `rows: &mut Vec<Row>` and `let rows = &mut *rows;`, `names: Names` and `let names = Clone::clone(&names);`
///
/// `is_named_by_us`: it is the database, which the generated code refers to.
pub(crate) fn replay(mut parameter: PatType, index: usize, is_named_by_us: bool, private: Private<'_>) -> Replayed {
    let mut passing = passing(&parameter.ty);
    let pat = &parameter.pat;
    let name = match &**pat {
        Pat::Ident(pat) if is_plain(pat) && pat.mutability.is_none() && passing == Passing::Shared && (is_used(pat) || !is_named_by_us) => {
            return Replayed { name: pat.ident.clone(), caller: parameter, fresh: None, moved: None };
        }
        pat => hidden_name(pat, &format!("__argument{index}")),
    };
    if passing == Passing::Shared && matches!(&**pat, Pat::Ident(pat) if !is_used(pat)) {
        // A reference is copied, by a call: clippy would see a binding that does nothing.
        passing = Passing::Value;
    }
    let value = anew(&name, &parameter.ty, passing, private);
    let attrs = inside(&parameter.attrs);
    let fresh = (!matches!(**pat, Pat::Wild(_))).then(|| quote_spanned!(Span::mixed_site()=> #(#attrs)* let #pat = #value;));
    parameter.attrs = without_expectations(&parameter.attrs);
    *parameter.pat = Pat::Verbatim(name.to_token_stream());
    let may_be_moved = passing == Passing::Value && !name.to_string().starts_with('_') && !is_primitive(&parameter.ty);
    let moved = may_be_moved.then(|| {
        let cfg = lints::cfg(&parameter.attrs);
        quote_spanned!(Span::mixed_site()=> #(#cfg)* let #name = #name;)
    });
    Replayed { caller: parameter, name, fresh, moved }
}

/// What an attempt gets for an argument. The tokens lie on the type: a type that is not `Clone` is reported there.
fn anew(name: &Ident, ty: &Type, passing: Passing, private: Private<'_>) -> TokenStream {
    let (first, last) = ends(ty);
    match passing {
        Passing::Shared => name.to_token_stream(),
        Passing::Exclusive => quote_spanned!(first=> &mut *#name),
        Passing::Value => {
            let mut name = name.clone();
            name.set_span(last.resolved_at(name.span()));
            let clone = Ident::new("clone", last);
            let private = private.at(first);
            quote_spanned!(first=> #private::CloneOf::#clone(&#name))
        }
    }
}

/// `self` cannot be bound anew. Where an attempt could use it up, the body works on a clone under another name.
pub(crate) fn replay_receiver(mut receiver: Receiver, block: &mut Group, private: Private<'_>) -> (Receiver, Option<TokenStream>) {
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
    let value = anew(&itself, ty.unwrap_or(&self_type), passing, private);
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
    /// In a macro's arguments, which are only tokens: every `self` but that of a path, `self::helper`, and of a function's own.
    fn rename_in(&mut self, tokens: TokenStream) -> TokenStream {
        let mut tokens = tokens.into_iter().peekable();
        let mut renamed = TokenStream::new();
        let mut is_in_function = false;
        while let Some(token) = tokens.next() {
            if is_in_function {
                is_in_function = !ends_function(&token);
                renamed.extend([token]);
                continue;
            }
            renamed.extend([match token {
                TokenTree::Ident(word) if word == "fn" && matches!(tokens.peek(), Some(TokenTree::Ident(_))) => {
                    is_in_function = true;
                    TokenTree::Ident(word)
                }
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

fn ends_function(token: &TokenTree) -> bool {
    match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
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
pub(crate) fn ends(ty: &Type) -> (Span, Span) {
    // Most types, without a copy of their tokens.
    if let Some(path) = function::path(ty)
        && let (Some(first), Some(last)) = (path.segments.first(), path.segments.last())
        && path.leading_colon.is_none()
    {
        match &last.arguments {
            PathArguments::None => return (hidden(first.ident.span()), hidden(last.ident.span())),
            PathArguments::AngleBracketed(list) => return (hidden(first.ident.span()), hidden(list.gt_token.span())),
            PathArguments::Parenthesized(_) => {}
        }
    }
    let spans: Vec<Span> = ty.to_token_stream().into_iter().map(|token| token.span()).collect();
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
