//! The syntax of an attribute's parentheses: `name` or `name = expression`.
//!
//! Which names exist and what they take is decided in [`crate::settings`], and so is what is said of the slips that are told
//! apart here.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::discouraged::Speculative;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, Lit, Token, token};

/// One option as written.
pub(crate) struct Written {
    pub(crate) name: Ident,
    pub(crate) value: Option<Expr>,
}

/// What is between two commas.
pub(crate) enum Piece {
    Option(Written),
    /// An option with its value, but `name: value`, `name(value)` or `name value`.
    Misspelt(Written, TokenStream),
    /// A value without a name.
    Unnamed(Expr),
    /// `name = READ COMMITTED` or `READ COMMITTED`: more words than a value has.
    Words(Option<Ident>, TokenStream),
    /// Nothing, between two commas.
    Nothing(Token![,]),
}

/// Every piece, and the errors of syntax. Each ends at the next comma, so that what was understood still counts.
pub(crate) fn parse(tokens: TokenStream) -> (Vec<Piece>, Vec<syn::Error>) {
    let (mut pieces, mut errors) = (Vec::new(), Vec::new());
    if tokens.is_empty() {
        return (pieces, errors);
    }
    let options = |input: ParseStream<'_>| {
        let content;
        syn::parenthesized!(content in input);
        while !content.is_empty() {
            if content.peek(Token![,]) {
                pieces.push(Piece::Nothing(content.parse()?));
                continue;
            }
            let ahead = content.fork();
            match piece(&ahead) {
                Ok(piece) => {
                    content.advance_to(&ahead);
                    pieces.push(piece);
                }
                Err(error) => {
                    errors.push(error);
                    up_to_comma(&content);
                }
            }
            if !content.is_empty() {
                content.parse::<Token![,]>()?;
            }
        }
        Ok(())
    };
    let last = options.parse2(enclosed(tokens)).err();
    errors.extend(last);
    (pieces, errors)
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

fn piece(input: ParseStream<'_>) -> syn::Result<Piece> {
    let ahead = input.fork();
    let Ok(name) = Ident::parse_any(&ahead) else {
        return input.parse().map(Piece::Unnamed);
    };
    if ends(&ahead) {
        input.advance_to(&ahead);
        return Ok(Piece::Option(Written { name, value: None }));
    }
    if ahead.peek(Token![=]) && !ahead.peek(Token![==]) && !ahead.peek(Token![=>]) {
        let equals: Token![=] = ahead.parse()?;
        if ends(&ahead) {
            return Err(syn::Error::new_spanned(equals, format_args!("`{name} =` lacks its value")));
        }
        let written = ahead.fork();
        let value = ahead.parse::<Expr>();
        let piece = match value {
            Ok(value) if ends(&ahead) => Piece::Option(Written { name, value: Some(value) }),
            value => {
                let words = up_to_comma(&written);
                if !words.clone().into_iter().all(|token| matches!(token, TokenTree::Ident(_))) {
                    value?;
                    return Err(ahead.error("expected `,`"));
                }
                ahead.advance_to(&written);
                Piece::Words(Some(name), words)
            }
        };
        input.advance_to(&ahead);
        return Ok(piece);
    }
    if let Some(words) = words(input) {
        return Ok(Piece::Words(None, words));
    }
    let start = ahead.fork();
    let is_misspelt = if ahead.peek(Token![:]) && !ahead.peek(Token![::]) {
        ahead.parse::<Token![:]>().is_ok()
    } else if ahead.peek(token::Paren) {
        ahead.parse::<TokenTree>()?;
        let is_last = ends(&ahead);
        ahead.advance_to(&start);
        is_last
    } else {
        ahead.peek(Ident::peek_any) && name != "if" && name != "match" && name != "unsafe" && name != "move" || ahead.peek(Lit)
    };
    if is_misspelt
        && let Ok(value) = ahead.parse::<Expr>()
        && ends(&ahead)
    {
        let whole = up_to_comma(input);
        let value = match value {
            Expr::Paren(paren) => *paren.expr,
            value => value,
        };
        return Ok(Piece::Misspelt(Written { name, value: Some(value) }, whole));
    }
    input.parse().map(Piece::Unnamed)
}

/// Two words in capitals, which is how a server writes its levels.
fn words(input: ParseStream<'_>) -> Option<TokenStream> {
    let ahead = input.fork();
    let words = up_to_comma(&ahead);
    let is_capital = |token: TokenTree| matches!(&token, TokenTree::Ident(word) if !word.to_string().contains(char::is_lowercase));
    if words.clone().into_iter().all(is_capital) {
        input.advance_to(&ahead);
        return Some(words);
    }
    None
}

fn ends(input: ParseStream<'_>) -> bool {
    input.is_empty() || input.peek(Token![,])
}

fn up_to_comma(input: ParseStream<'_>) -> TokenStream {
    let mut tokens = TokenStream::new();
    while !ends(input)
        && let Ok(token) = input.parse::<TokenTree>()
    {
        token.to_tokens(&mut tokens);
    }
    tokens
}

/// The expression without the invisible parentheses around a `$value` of `macro_rules!`.
pub(crate) fn plain(value: &Expr) -> &Expr {
    match value {
        Expr::Group(group) => plain(&group.expr),
        value => value,
    }
}
