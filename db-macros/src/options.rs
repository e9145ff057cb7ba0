//! What is written in an attribute's parentheses?
//!
//! Syntax only, `name` or `name = expression`; which names exist and what they take is asked in [`crate::settings`].

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, Token};

/// One option as written.
pub(crate) struct Written {
    pub(crate) name: Ident,
    pub(crate) value: Option<Expr>,
}

/// Everything up to the first error of syntax, and that error: what was understood still counts, so that a comma
/// forgotten after `on = …` is not reported as a missing database too.
pub(crate) fn parse(tokens: TokenStream) -> (Vec<Written>, Option<syn::Error>) {
    let mut written = Vec::new();
    let options = |input: ParseStream<'_>| {
        let content;
        syn::parenthesized!(content in input);
        while !content.is_empty() {
            written.push(option(&content)?);
            if !content.is_empty() {
                content.parse::<Token![,]>()?;
            }
        }
        Ok(())
    };
    let error = options.parse2(enclosed(tokens)).err();
    (written, error)
}

/// In parentheses whose closing one lies where the last token does: there an error is reported that is found at the end.
fn enclosed(tokens: TokenStream) -> TokenStream {
    let last = tokens.clone().into_iter().last();
    let mut group = Group::new(Delimiter::Parenthesis, tokens);
    if let Some(last) = last {
        group.set_span(last.span());
    }
    TokenTree::from(group).into()
}

fn option(input: ParseStream<'_>) -> syn::Result<Written> {
    let name = Ident::parse_any(input)?;
    let next = input.lookahead1();
    let value = if next.peek(Token![=]) {
        let equals: Token![=] = input.parse()?;
        if input.is_empty() || input.peek(Token![,]) {
            return Err(syn::Error::new_spanned(equals, format_args!("`{name} =` lacks its value")));
        }
        Some(input.parse()?)
    } else if input.is_empty() || next.peek(Token![,]) {
        None
    } else {
        return Err(next.error());
    };
    Ok(Written { name, value })
}
