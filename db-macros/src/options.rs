//! What is written in an attribute's parentheses?
//!
//! Syntax only, `name` or `name = expression`; which names exist and what they take is asked in [`crate::valid`].

use proc_macro2::{Ident, TokenStream};
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
        while !input.is_empty() {
            written.push(option(input)?);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(())
    };
    let error = options.parse2(tokens).err();
    (written, error)
}

fn option(input: ParseStream<'_>) -> syn::Result<Written> {
    let name = Ident::parse_any(input)?;
    let next = input.lookahead1();
    let value = if next.peek(Token![=]) {
        input.parse::<Token![=]>()?;
        Some(input.parse()?)
    } else if input.is_empty() || next.peek(Token![,]) {
        None
    } else {
        return Err(next.error());
    };
    Ok(Written { name, value })
}
