//! What did the user write? The item, cut so that the body stays as it is.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt};
use syn::parse::discouraged::Speculative;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Signature, Token, Type, Visibility};

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

/// An item, as far as it is understood.
pub(crate) enum Item {
    Function(Box<Function>),
    /// Something else, or a function in syntax that our parser does not know.
    Other {
        attrs: Vec<Attribute>,
        rest: TokenStream,
        error: syn::Error,
    },
}

impl Item {
    /// What is in the body's braces is not looked at: it may be long, and need not be complete.
    pub(crate) fn read(tokens: TokenStream) -> syn::Result<Self> {
        let mut tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let block = tokens.pop_if(|last| matches!(last, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace));
        let in_place = block.iter().map(|block| match block {
            TokenTree::Group(block) => TokenTree::Group(with_stream(block, TokenStream::new())),
            other => other.clone(),
        });
        let head = tokens.into_iter().chain(in_place).collect();
        let read = |input: ParseStream<'_>| {
            let attrs = input.call(Attribute::parse_outer)?;
            let ahead = input.fork();
            match function(&ahead) {
                Ok(function) => {
                    input.advance_to(&ahead);
                    Ok(Self::Function(Box::new(Function { attrs, ..function })))
                }
                Err(error) => Ok(Self::Other { attrs, rest: input.parse()?, error }),
            }
        };
        let mut item = read.parse2(head)?;
        if let Some(TokenTree::Group(block)) = block {
            item.put_back(block)?;
        }
        Ok(item)
    }

    fn put_back(&mut self, block: Group) -> syn::Result<()> {
        match self {
            Self::Function(function) if begins_with_inner_attr(&block) => {
                let (inner_attrs, rest) = split_inner_attrs.parse2(block.stream())?;
                function.inner_attrs = inner_attrs;
                // A group made anew has one span for both of its braces, so only where there is something to take out.
                function.body = Body::Block(with_stream(&block, rest));
            }
            Self::Function(function) => function.body = Body::Block(block),
            Self::Other { rest, .. } => {
                let mut tokens: Vec<TokenTree> = std::mem::take(rest).into_iter().collect();
                tokens.pop();
                tokens.push(block.into());
                rest.extend(tokens);
            }
        }
        Ok(())
    }
}

/// After its attributes.
fn function(input: ParseStream<'_>) -> syn::Result<Function> {
    let vis = input.parse()?;
    let defaultness = input.parse()?;
    let sig = input.parse()?;
    let body = if input.peek(Token![;]) { Body::Missing(input.parse()?) } else { Body::Block(input.parse()?) };
    Ok(Function { attrs: Vec::new(), vis, defaultness, sig, inner_attrs: Vec::new(), body })
}

fn begins_with_inner_attr(block: &Group) -> bool {
    let mut tokens = block.stream().into_iter();
    let mut is = |wanted: char| matches!(tokens.next(), Some(TokenTree::Punct(punct)) if punct.as_char() == wanted);
    is('#') && is('!')
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
