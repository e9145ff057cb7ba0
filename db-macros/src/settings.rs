//! What do the options mean, and which of them are refused?
//!
//! A mistake in an option leaves that option out, and the function is wrapped all the same.

use proc_macro2::Ident;
use quote::ToTokens;
use syn::{Expr, ExprLit, ExprPath, Lit};

use crate::attribute::{Attribute, Use};
use crate::mistakes::Mistakes;
use crate::options::{self, Written};
use crate::suggest::{list, nearest};

/// What the attributes above one function say.
#[derive(Default)]
pub(crate) struct Settings {
    /// The one database that both attributes may name.
    pub(crate) on: Option<Expr>,
    pub(crate) transaction: Option<TransactionOptions>,
    pub(crate) retry: Option<RetryOptions>,
}

/// Each option by its name as written, so that an editor finds what it stands for.
#[derive(Default)]
pub(crate) struct TransactionOptions {
    pub(crate) isolation: Option<(Ident, Level)>,
    pub(crate) read_only: Option<Ident>,
    pub(crate) join: Option<Ident>,
}

pub(crate) enum Level {
    /// `ReadCommitted`
    Named(Ident),
    /// `config::LEVEL`
    Path(ExprPath),
}

#[derive(Default)]
pub(crate) struct RetryOptions {
    /// In place of the database's policy.
    pub(crate) policy: Option<Box<Expr>>,
    /// Single settings, each on top of that policy.
    pub(crate) settings: Vec<(Ident, Expr)>,
}

/// The options of both attributes.
pub(crate) fn read(uses: Vec<Use>, mistakes: &mut Mistakes) -> Settings {
    let mut settings = Settings::default();
    for (attribute, tokens) in uses {
        let options = distinct_options(attribute, options::parse(tokens), mistakes);
        let database = match attribute {
            Attribute::Transactional => {
                let (options, database) = transaction_options(options, mistakes);
                settings.transaction = Some(options);
                database
            }
            Attribute::RetryOnDisconnect => {
                let (options, database) = retry_options(options, mistakes);
                settings.retry = Some(options);
                database
            }
        };
        match (&settings.on, database) {
            (Some(first), Some(second)) if same_tokens(first, &second) => {}
            (Some(first), Some(second)) => {
                let first = first.to_token_stream();
                mistakes.at(second, format_args!("the other attribute says `on = {first}`: an attempt has one database, say it once"));
            }
            (None, Some(database)) => settings.on = Some(database),
            (_, None) => {}
        }
    }
    settings
}

fn same_tokens(one: &Expr, other: &Expr) -> bool {
    one.to_token_stream().to_string() == other.to_token_stream().to_string()
}

/// The options that this attribute has, each once.
fn distinct_options(attribute: Attribute, (written, error): (Vec<Written>, Option<syn::Error>), mistakes: &mut Mistakes) -> Vec<Written> {
    let mut distinct: Vec<Written> = Vec::new();
    for option in written {
        let name = &option.name;
        if attribute.example(&name.to_string()).is_none() {
            mistakes.at(name, unknown_option(attribute, name));
        } else if distinct.iter().any(|earlier| earlier.name == *name) {
            mistakes.at(name, format_args!("`{name}` is written twice: remove one"));
        } else {
            distinct.push(option);
        }
    }
    if let Some(error) = error {
        mistakes.push(error);
    }
    distinct
}

fn unknown_option(attribute: Attribute, name: &Ident) -> String {
    let written = name.to_string();
    if let Some(other) = Attribute::ALL.into_iter().find(|other| other.example(&written).is_some()) {
        return format!("`{name}` is an option of {other}");
    }
    let names = || attribute.options().iter().map(|(name, _)| *name);
    match nearest(&written, names()) {
        Some(near) => format!("unknown option `{name}`: did you mean `{near}`?"),
        None => format!("unknown option `{name}`: {attribute} has {}", list(names())),
    }
}

fn transaction_options(written: Vec<Written>, mistakes: &mut Mistakes) -> (TransactionOptions, Option<Expr>) {
    let attribute = Attribute::Transactional;
    let mut options = TransactionOptions::default();
    let mut on = None;
    for option in written {
        match option.name.to_string().as_str() {
            "isolation" => {
                options.isolation =
                    value(attribute, &option, mistakes).and_then(|value| level(&value, mistakes)).map(|level| (option.name, level));
            }
            "read_only" => options.read_only = flag(option, mistakes),
            "join" => options.join = flag(option, mistakes),
            _ => on = value(attribute, &option, mistakes),
        }
    }
    if options.join.is_some() {
        let isolation = options.isolation.take().map(|(name, _)| name);
        for name in isolation.into_iter().chain(options.read_only.take()) {
            mistakes.at(
                &name,
                format_args!(
                    "`{name}` cannot be promised with `join`, which takes the transaction that the caller began: \
                     remove one of them"
                ),
            );
        }
    }
    (options, on)
}

const LEVELS: [&str; 4] = ["ReadUncommitted", "ReadCommitted", "RepeatableRead", "Serializable"];

fn level(value: &Expr, mistakes: &mut Mistakes) -> Option<Level> {
    let levels = || LEVELS.into_iter();
    match value {
        Expr::Path(path) => {
            let Some(name) = path.path.get_ident() else {
                return Some(Level::Path(path.clone()));
            };
            if levels().any(|level| name == level) {
                return Some(Level::Named(name.clone()));
            }
            match same_level(&name.to_string()) {
                Some(level) => mistakes.at(name, format_args!("did you mean `isolation = {level}`?")),
                None => mistakes.at(name, format_args!("unknown isolation level `{name}`: there are {}", list(levels()))),
            }
        }
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
            let level = same_level(&text.value()).unwrap_or("ReadCommitted");
            mistakes.at(text, format_args!("a name, not a string: write `isolation = {level}`"));
        }
        other => mistakes.at(other, format_args!("`isolation` takes one of {}", list(levels()))),
    }
    None
}

/// `READ COMMITTED`, `read-committed` and `read_committed` are spellings of `ReadCommitted`.
fn same_level(written: &str) -> Option<&'static str> {
    let letters: String = written.chars().filter(|letter| letter.is_alphanumeric()).collect();
    nearest(&letters, LEVELS.into_iter())
}

fn retry_options(written: Vec<Written>, mistakes: &mut Mistakes) -> (RetryOptions, Option<Expr>) {
    let attribute = Attribute::RetryOnDisconnect;
    let mut options = RetryOptions::default();
    let mut on = None;
    for option in written {
        let Some(value) = value(attribute, &option, mistakes) else {
            continue;
        };
        let name = option.name;
        match name.to_string().as_str() {
            "on" => on = Some(value),
            "max_attempts" => {
                if attempts(&value, mistakes) {
                    options.settings.push((name, value));
                }
            }
            "policy" => {
                if let Expr::Lit(literal) = &value {
                    mistakes.at(literal, "`policy` takes a `RetryPolicy`, such as `RetryPolicy::default()`");
                } else {
                    options.policy = Some(Box::new(value));
                }
            }
            _ => {
                if let Expr::Lit(literal) = &value {
                    mistakes.at(literal, format_args!("`{name}` takes a `Duration`, such as `Duration::from_millis(50)`"));
                } else {
                    options.settings.push((name, value));
                }
            }
        }
    }
    delays_in_order(&options, mistakes);
    (options, on)
}

/// What is no literal is left to the compiler, which knows its type and value.
fn attempts(value: &Expr, mistakes: &mut Mistakes) -> bool {
    let Expr::Lit(ExprLit { lit, .. }) = value else {
        return true;
    };
    match lit {
        Lit::Int(number) if number.base10_parse::<u64>().is_ok_and(|number| number == 0) => {
            mistakes.at(number, "the first run counts: `max_attempts = 1` runs the body once and never again");
            false
        }
        Lit::Int(number) if number.base10_parse::<u32>().is_err() => {
            mistakes.at(number, format_args!("`max_attempts` is a `u32`: at most {}", u32::MAX));
            false
        }
        Lit::Int(_) => true,
        lit => {
            mistakes.at(lit, "`max_attempts` takes a number: `max_attempts = 5`");
            false
        }
    }
}

/// Where both delays are written as numbers, the first is not to be beyond the last.
fn delays_in_order(options: &RetryOptions, mistakes: &mut Mistakes) {
    let written = |wanted: &str| options.settings.iter().find_map(|(name, value)| (name == wanted).then_some(value));
    let (Some(base), Some(max)) = (written("base_delay"), written("max_delay")) else {
        return;
    };
    if let (Some(first), Some(last)) = (nanoseconds(base), nanoseconds(max))
        && first > last
    {
        mistakes.at(base, "delays grow from `base_delay` to `max_delay`, which is less: exchange the two");
    }
}

/// What `Duration::from_millis(50)` comes to, under whatever path, and the like of it.
fn nanoseconds(duration: &Expr) -> Option<u128> {
    let Expr::Call(call) = duration else {
        return None;
    };
    let (Expr::Path(constructor), [Expr::Lit(ExprLit { lit: Lit::Int(number), .. })]) =
        (&*call.func, call.args.iter().collect::<Vec<_>>().as_slice())
    else {
        return None;
    };
    let segments: Vec<String> = constructor.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    let [.., of, name] = segments.as_slice() else {
        return None;
    };
    let unit: u128 = match name.as_str() {
        "from_nanos" => 1,
        "from_micros" => 1_000,
        "from_millis" => 1_000_000,
        "from_secs" => 1_000_000_000,
        "from_mins" => 60_000_000_000,
        "from_hours" => 3_600_000_000_000,
        _ => return None,
    };
    let number: u64 = number.base10_parse().ok()?;
    (of == "Duration").then(|| u128::from(number) * unit)
}

fn value(attribute: Attribute, option: &Written, mistakes: &mut Mistakes) -> Option<Expr> {
    if option.value.is_none() {
        let name = &option.name;
        let example = attribute.example(&name.to_string()).unwrap_or_default();
        mistakes.at(name, format_args!("`{name}` needs a value, such as `{example}`"));
    }
    option.value.clone()
}

fn flag(option: Written, mistakes: &mut Mistakes) -> Option<Ident> {
    let name = &option.name;
    if let Some(value) = &option.value {
        mistakes.at(value, format_args!("`{name}` takes no value: write `{name}`, or leave it out"));
        return None;
    }
    Some(option.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_level_is_recognised() {
        for (written, level) in [
            ("READ COMMITTED", Some("ReadCommitted")),
            ("repeatable-read", Some("RepeatableRead")),
            ("Serialisable", Some("Serializable")),
            ("READ_UNCOMMITTED", Some("ReadUncommitted")),
            ("Snapshot", None),
        ] {
            assert_eq!(same_level(written), level, "{written}");
        }
    }

    #[test]
    fn a_duration_is_compared_only_where_its_value_is_written() {
        for (written, value) in [
            ("Duration::from_millis(50)", Some(50_000_000)),
            ("std::time::Duration::from_secs(2_u64)", Some(2_000_000_000)),
            ("Duration::from_hours(1)", Some(3_600_000_000_000)),
            ("Duration::from_micros(MICROS)", None),
            ("Duration::from_secs(99999999999999999999)", None),
            ("Seconds::from_secs(2)", None),
            ("from_secs(2)", None),
            ("Duration::ZERO", None),
            ("Duration::new(1, 2)", None),
        ] {
            assert_eq!(nanoseconds(&syn::parse_str(written).expect("an expression")), value, "{written}");
        }
    }
}
