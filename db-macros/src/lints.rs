//! Which attributes of a parameter go where, once it is there twice: in the caller's signature, and inside.

use proc_macro2::{Punct, Spacing, TokenStream, TokenTree};
use syn::{Attribute, Meta};

/// What may stand on a `let`. Everything else is the helper of another macro, such as `#[case]`, and is read in the signature.
const LINTS: &[&str] = &["allow", "warn", "deny", "forbid", "expect", "cfg"];

/// The attributes inside.
pub(crate) fn inside(attrs: &[Attribute]) -> Vec<Attribute> {
    filtered(attrs, |name| LINTS.contains(&name))
}

/// The caller's attributes. The generated code uses every parameter that it names: `#[expect(unused_variables)]` can come true only inside.
pub(crate) fn without_expectations(attrs: &[Attribute]) -> Vec<Attribute> {
    filtered(attrs, |name| name != "expect")
}

/// Those that say whether a parameter is there.
pub(crate) fn cfg(attrs: &[Attribute]) -> Vec<Attribute> {
    filtered(attrs, |name| name == "cfg")
}

fn filtered(attrs: &[Attribute], keep: impl Fn(&str) -> bool + Copy) -> Vec<Attribute> {
    attrs.iter().filter_map(|attr| kept(attr, keep)).collect()
}

/// The attribute; of `#[cfg_attr(…, …)]` what is to be kept.
fn kept(attr: &Attribute, keep: impl Fn(&str) -> bool + Copy) -> Option<Attribute> {
    match &attr.meta {
        Meta::List(list) if list.path.is_ident("cfg_attr") => {
            let mut kept = list.clone();
            kept.tokens = kept_of_list(list.tokens.clone(), keep)?;
            Some(Attribute { meta: Meta::List(kept), ..attr.clone() })
        }
        meta => {
            let name = meta.path().get_ident().map(ToString::to_string).unwrap_or_default();
            keep(&name).then(|| attr.clone())
        }
    }
}

/// `predicate, attribute, …` with those attributes that are to be kept.
fn kept_of_list(tokens: TokenStream, keep: impl Fn(&str) -> bool + Copy) -> Option<TokenStream> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
    let mut parts = tokens.split(is_comma);
    let mut list: TokenStream = parts.next()?.iter().cloned().collect();
    let mut any = false;
    for part in parts {
        let name = match part {
            [TokenTree::Ident(_), TokenTree::Punct(punct), ..] if punct.as_char() == ':' => String::new(),
            [name, ..] => name.to_string(),
            [] => continue,
        };
        let part: TokenStream = match part {
            [TokenTree::Ident(name), TokenTree::Group(group)] if name == "cfg_attr" => match kept_of_list(group.stream(), keep) {
                Some(inner) => [part[0].clone(), crate::function::with_stream(group, inner).into()].into_iter().collect(),
                None => continue,
            },
            _ if keep(&name) => part.iter().cloned().collect(),
            _ => continue,
        };
        any = true;
        list.extend([TokenTree::from(Punct::new(',', Spacing::Alone))]);
        list.extend(part);
    }
    any.then_some(list)
}

#[cfg(test)]
mod tests {
    use quote::{ToTokens, quote};
    use syn::parse::Parser;

    use super::*;

    fn both(attrs: &str) -> (String, String) {
        let attrs = Attribute::parse_outer.parse_str(attrs).expect("attributes");
        let written = |attrs: Vec<Attribute>| quote!(#(#attrs)*).into_token_stream().to_string().replace(' ', "");
        (written(inside(&attrs)), written(without_expectations(&attrs)))
    }

    #[test]
    fn a_helper_stays_in_the_signature_and_an_expectation_goes_inside() {
        for (attrs, inside, outside) in [
            ("#[case(1)]", "", "#[case(1)]"),
            ("#[expect(unused)]", "#[expect(unused)]", ""),
            ("#[allow(unused)] #[cfg(test)]", "#[allow(unused)]#[cfg(test)]", "#[allow(unused)]#[cfg(test)]"),
            ("#[cfg_attr(all(a, b), expect(unused))]", "#[cfg_attr(all(a,b),expect(unused))]", ""),
            ("#[cfg_attr(a, from, expect(unused))]", "#[cfg_attr(a,expect(unused))]", "#[cfg_attr(a,from)]"),
            (
                "#[cfg_attr(a, cfg_attr(b, case, allow(x)))]",
                "#[cfg_attr(a,cfg_attr(b,allow(x)))]",
                "#[cfg_attr(a,cfg_attr(b,case,allow(x)))]",
            ),
            ("#[builder::default]", "", "#[builder::default]"),
        ] {
            assert_eq!(both(attrs), (inside.to_owned(), outside.to_owned()), "{attrs}");
        }
    }
}
