//! The item as the user wrote it, cut so that the body stays as it is.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt};
use syn::parse::discouraged::Speculative;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, GenericArgument, Lifetime, Path, PathArguments, Signature, Token, Type, Visibility};

/// A function or method. The body is kept as tokens: what is half typed in an editor, or newer than our parser,
/// reaches the compiler as it was written.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) defaultness: Option<Token![default]>,
    pub(crate) sig: Signature,
    /// Attributes of ours that were taken off, for the compiler to resolve.
    pub(crate) taken_off: Vec<Path>,
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
        let block = tokens.last().and_then(block);
        if let Some(block) = &block {
            tokens.pop();
            tokens.push(with_stream(block, TokenStream::new()).into());
        }
        let head = tokens.into_iter().collect();
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
        if let Some(block) = block {
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

/// The braces, or those inside the invisible ones around a `$body:block` of `macro_rules!`.
fn block(last: &TokenTree) -> Option<Group> {
    match last {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group.clone()),
        TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
            let mut inside = group.stream().into_iter();
            let only = inside.next()?;
            if inside.next().is_some() { None } else { block(&only) }
        }
        _ => None,
    }
}

/// After its attributes.
fn function(input: ParseStream<'_>) -> syn::Result<Function> {
    let vis = input.parse()?;
    let defaultness = input.parse()?;
    let sig = input.parse()?;
    let body = if input.peek(Token![;]) { Body::Missing(input.parse()?) } else { Body::Block(input.parse()?) };
    Ok(Function { attrs: Vec::new(), taken_off: Vec::new(), vis, defaultness, sig, inner_attrs: Vec::new(), body })
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

/// Whether an item that could not be read as a function is one anyway, in syntax that our parser does not know.
pub(crate) fn looks_like_a_function(item: &TokenStream) -> bool {
    item.clone().into_iter().any(|token| matches!(token, TokenTree::Ident(word) if word == "fn"))
}

/// Whether the function is one that the compiler has reported before it expands the attribute: with a default for a parameter, a
/// parameter without a type, or an expression for a body.
pub(crate) fn is_refused_by_the_compiler(item: &TokenStream) -> bool {
    let tokens: Vec<TokenTree> = item.clone().into_iter().collect();
    let parameters = tokens.iter().enumerate().find_map(|(index, token)| match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis && index > 1 => Some((index, group.stream())),
        _ => None,
    });
    let Some((index, parameters)) = parameters else {
        return false;
    };
    let parameters: Vec<TokenTree> = parameters.into_iter().collect();
    let is_receiver = |parameter: &[TokenTree]| matches!(parameter.last(), Some(TokenTree::Ident(word)) if word == "self");
    let is_wrong = |parameter: &[TokenTree]| {
        has_outside_of_angles(parameter, '=') || !parameter.is_empty() && !is_receiver(parameter) && !has_outside_of_angles(parameter, ':')
    };
    has_outside_of_angles(&tokens[index + 1..], '=') || split_outside_of_angles(&parameters, ',').into_iter().any(is_wrong)
}

fn has_outside_of_angles(tokens: &[TokenTree], wanted: char) -> bool {
    split_outside_of_angles(tokens, wanted).len() > 1
}

/// `A<B, C>` is one piece.
fn split_outside_of_angles(tokens: &[TokenTree], separator: char) -> Vec<&[TokenTree]> {
    let mut depth = 0_u32;
    let mut before = ' ';
    tokens
        .split(|token| {
            let TokenTree::Punct(punct) = token else {
                before = ' ';
                return false;
            };
            let mark = punct.as_char();
            match mark {
                '<' => depth += 1,
                // Not that of an arrow.
                '>' if before != '-' => depth = depth.saturating_sub(1),
                _ => {}
            }
            before = mark;
            depth == 0 && mark == separator
        })
        .collect()
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

/// `db_core::Transaction<'_>`
pub(crate) fn path(ty: &Type) -> Option<&Path> {
    match plain(ty) {
        Type::Path(path) => Some(&path.path),
        _ => None,
    }
}

/// `Transaction` of `db_core::Transaction<'_>`.
pub(crate) fn last_segment(ty: &Type) -> Option<&Ident> {
    path(ty)?.segments.last().map(|segment| &segment.ident)
}

/// `db_core` of `db_core::Transaction<'_>`.
pub(crate) fn qualifier(ty: &Type) -> Option<&Ident> {
    path(ty)?.segments.iter().rev().nth(1).map(|segment| &segment.ident)
}

/// `'a` of `Transaction<'a>`.
pub(crate) fn named_lifetime(ty: &Type) -> Option<&Lifetime> {
    lifetime(ty).filter(|lifetime| lifetime.ident != "_" && lifetime.ident != "static")
}

/// Whether the last segment has a lifetime, as `Transaction<'_>` has.
pub(crate) fn has_lifetime(ty: &Type) -> bool {
    lifetime(ty).is_some()
}

fn lifetime(ty: &Type) -> Option<&Lifetime> {
    match &path(ty)?.segments.last()?.arguments {
        PathArguments::AngleBracketed(list) => list.args.iter().find_map(|argument| match argument {
            GenericArgument::Lifetime(lifetime) => Some(lifetime),
            _ => None,
        }),
        _ => None,
    }
}
