//! What did the user write? The item, cut so that the body stays as it is.

use proc_macro2::{Group, Ident, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt};
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, FnArg, PatType, Signature, Token, Type, Visibility};

/// A function or method. The body is kept as tokens: what is half typed in an editor, or newer than our parser,
/// reaches the compiler as it was written.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) defaultness: Option<Token![default]>,
    pub(crate) sig: Signature,
    /// `#![…]` at the top of the body: they are the function's, and stay at the top whatever the body becomes.
    pub(crate) inner_attrs: Vec<Attribute>,
    pub(crate) body: Body,
}

#[derive(Clone)]
pub(crate) enum Body {
    Block(Group),
    /// A trait's method without a default.
    Missing(Token![;]),
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let defaultness = input.parse()?;
        let sig = input.parse()?;
        let (inner_attrs, body) = if input.peek(Token![;]) {
            (Vec::new(), Body::Missing(input.parse()?))
        } else {
            let block: Group = input.parse()?;
            let (inner_attrs, rest) = split_inner_attrs.parse2(block.stream())?;
            // A group made anew has one span for both of its braces, so only where there is something to take out.
            let block = if inner_attrs.is_empty() { block } else { with_stream(&block, rest) };
            (inner_attrs, Body::Block(block))
        };
        Ok(Self { attrs, vis, defaultness, sig, inner_attrs, body })
    }
}

fn split_inner_attrs(input: ParseStream<'_>) -> syn::Result<(Vec<Attribute>, TokenStream)> {
    Ok((input.call(Attribute::parse_inner)?, input.parse()?))
}

/// The same delimiters around other tokens.
pub(crate) fn with_stream(group: &Group, stream: TokenStream) -> Group {
    let mut other = Group::new(group.delimiter(), stream);
    other.set_span(group.span());
    other
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.append_all(&self.attrs);
        self.vis.to_tokens(tokens);
        self.defaultness.to_tokens(tokens);
        self.sig.to_tokens(tokens);
        match &self.body {
            Body::Block(block) if self.inner_attrs.is_empty() => block.to_tokens(tokens),
            Body::Block(block) => {
                let mut stream = TokenStream::new();
                stream.append_all(&self.inner_attrs);
                stream.extend(block.stream());
                with_stream(block, stream).to_tokens(tokens);
            }
            Body::Missing(semi) => semi.to_tokens(tokens),
        }
    }
}

/// Whether an item that could not be read as a function is one all the same, in syntax that our parser does not know.
pub(crate) fn looks_like_a_function(item: &TokenStream) -> bool {
    item.clone().into_iter().any(|token| matches!(token, TokenTree::Ident(word) if word == "fn"))
}

/// `struct` of `pub struct Store;`, or whatever else the item begins with.
pub(crate) fn keyword(item: &TokenStream) -> Option<TokenTree> {
    item.clone().into_iter().find(|token| matches!(token, TokenTree::Ident(word) if word != "pub"))
}

/// What a parameter is for. A macro sees names, not types: the last segment of the path decides.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `&mut Transaction<'_>`
    Transaction,
    /// `Attempt`
    Attempt,
    /// `&Db` or `&Scope<'_>`
    Database,
    /// Everything else, `self` included.
    Argument,
}

pub(crate) fn role(input: &FnArg) -> Role {
    let FnArg::Typed(PatType { ty, .. }) = input else {
        return Role::Argument;
    };
    match plain(ty) {
        Type::Reference(reference) => match (last_segment(&reference.elem), reference.mutability) {
            (Some(name), Some(_)) if name == "Transaction" => Role::Transaction,
            (Some(name), None) if name == "Db" || name == "Scope" => Role::Database,
            _ => Role::Argument,
        },
        ty if last_segment(ty).is_some_and(|name| name == "Attempt") => Role::Attempt,
        _ => Role::Argument,
    }
}

/// The type without parentheses, and without the invisible ones around a `$ty` of `macro_rules!`.
pub(crate) fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Paren(paren) => plain(&paren.elem),
        Type::Group(group) => plain(&group.elem),
        ty => ty,
    }
}

/// `Transaction` of `db_core::Transaction<'_>`.
pub(crate) fn last_segment(ty: &Type) -> Option<&Ident> {
    match plain(ty) {
        Type::Path(path) => path.path.segments.last().map(|segment| &segment.ident),
        _ => None,
    }
}
