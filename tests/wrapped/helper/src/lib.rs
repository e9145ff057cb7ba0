//! An attribute with a helper for parameters, as those of test frameworks have.

use proc_macro::{Group, TokenStream, TokenTree};

/// Takes `#[case]` off the parameters.
#[proc_macro_attribute]
pub fn cases(_: TokenStream, item: TokenStream) -> TokenStream {
    without_case(item)
}

fn without_case(tokens: TokenStream) -> TokenStream {
    let mut kept: Vec<TokenTree> = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.stream().to_string().starts_with("case") => {
                kept.pop();
            }
            TokenTree::Group(group) => {
                let mut inside = Group::new(group.delimiter(), without_case(group.stream()));
                inside.set_span(group.span());
                kept.push(inside.into());
            }
            token => kept.push(token),
        }
    }
    kept.into_iter().collect()
}
