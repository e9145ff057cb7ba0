//! The two attributes, their options, and their uses above one function.

use std::fmt::Display;

use proc_macro2::TokenStream;
use syn::Meta;

use crate::mistakes::Mistakes;

/// The two macros, as their users write them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Attribute {
    Transactional,
    RetryOnDisconnect,
}

impl Attribute {
    pub(crate) const ALL: [Self; 2] = [Self::Transactional, Self::RetryOnDisconnect];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Transactional => "transactional",
            Self::RetryOnDisconnect => "retry_on_disconnect",
        }
    }

    /// The options, each in the form that a message shows.
    pub(crate) fn options(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Transactional => &[
                ("isolation", "isolation = ReadCommitted"),
                ("read_only", "read_only"),
                ("join", "join"),
                ("timeout", "timeout = Duration::from_secs(5)"),
                ("idempotency_key", "idempotency_key = request.id"),
                ("on", "on = self.db"),
                ("crate", "crate = infra::db_core"),
            ],
            Self::RetryOnDisconnect => &[
                ("max_attempts", "max_attempts = 5"),
                ("base_delay", "base_delay = Duration::from_millis(50)"),
                ("max_delay", "max_delay = Duration::from_secs(2)"),
                ("max_elapsed", "max_elapsed = Duration::from_secs(30)"),
                ("policy", "policy = self.retry_policy"),
                ("timeout", "timeout = Duration::from_secs(5)"),
                ("on", "on = self.db"),
                ("crate", "crate = infra::db_core"),
            ],
        }
    }

    pub(crate) fn example(self, option: &str) -> Option<&'static str> {
        self.options().iter().find_map(|(name, example)| (*name == option).then_some(*example))
    }

    /// Which of the two an attribute is. Its last segment decides: `#[db_core::transactional]` is one too.
    fn of(attr: &syn::Attribute) -> Option<Self> {
        let name = &attr.path().segments.last()?.ident;
        Self::ALL.into_iter().find(|attribute| name == attribute.name())
    }
}

impl Display for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`#[{}]`", self.name())
    }
}

/// An attribute above a function, and what is written in its parentheses.
pub(crate) type Use = (Attribute, TokenStream);

/// The attribute being expanded, and the other one where it stands below: taken off, since both expand as one. `paths` gets the path of
/// each that is taken off, for the compiler to resolve.
pub(crate) fn uses(
    attribute: Attribute,
    options: TokenStream,
    attrs: &mut Vec<syn::Attribute>,
    paths: &mut Vec<syn::Path>,
    mistakes: &mut Mistakes,
) -> Vec<Use> {
    let mut uses = vec![(attribute, options)];
    attrs.retain(|attr| {
        let Some(below) = Attribute::of(attr) else {
            return true;
        };
        let path = attr.path();
        paths.push(path.clone());
        if uses.iter().any(|(seen, _)| *seen == below) {
            mistakes.at(path, format_args!("{below} is written twice: remove one"));
            return false;
        }
        if attribute == Attribute::Transactional {
            mistakes.at(path, "`#[retry_on_disconnect]` goes above `#[transactional]`: each attempt is its own transaction");
        }
        let options = match &attr.meta {
            Meta::Path(_) => TokenStream::new(),
            Meta::List(list) => list.tokens.clone(),
            Meta::NameValue(_) => {
                let name = below.name();
                mistakes.at(attr, format_args!("options go in parentheses: `#[{name}(on = self.db)]`"));
                TokenStream::new()
            }
        };
        uses.push((below, options));
        false
    });
    uses
}
