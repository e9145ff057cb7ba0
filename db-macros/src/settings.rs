//! The meaning of the options, and which of them are refused.
//!
//! A mistake in an option leaves that option out, and the function is wrapped anyway.

use proc_macro2::Ident;
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Expr, ExprLit, Lit};

use crate::attribute::{Attribute, Use};
use crate::mistakes::Mistakes;
use crate::options::{self, Piece, Written, plain};
use crate::suggest::{by_part, list, nearest};

/// What the attributes above one function say.
#[derive(Default)]
pub(crate) struct Settings {
    /// The one database that both attributes may name.
    pub(crate) on: Option<Expr>,
    /// The path of `db-core`, where the manifest does not name it.
    pub(crate) library: Option<syn::Path>,
    pub(crate) transaction: Option<TransactionOptions>,
    pub(crate) retry: Option<RetryOptions>,
}

/// Each option by its name as written, so that an editor finds what it stands for.
#[derive(Default)]
pub(crate) struct TransactionOptions {
    pub(crate) isolation: Option<(Ident, Level)>,
    pub(crate) read_only: Option<Ident>,
    pub(crate) join: Option<Ident>,
    pub(crate) timeout: Option<Box<Expr>>,
    pub(crate) idempotency_key: Option<Box<Expr>>,
}

pub(crate) enum Level {
    /// `ReadCommitted`
    Named(Ident),
    /// `config::LEVEL`, or whatever else is an `Isolation`.
    Value(Box<Expr>),
}

#[derive(Default)]
pub(crate) struct RetryOptions {
    /// In place of the database's policy.
    pub(crate) policy: Option<Box<Expr>>,
    /// Single settings, each on top of that policy.
    pub(crate) settings: Vec<(Ident, Expr)>,
    /// Of the whole call, where there is no transaction that has it.
    pub(crate) timeout: Option<Box<Expr>>,
}

/// The options that both attributes have.
#[derive(Default)]
struct Shared {
    on: Option<Expr>,
    library: Option<Expr>,
    timeout: Option<Expr>,
}

/// The options of both attributes. `is_argument`: whether the function has a parameter of this name.
pub(crate) fn read(uses: Vec<Use>, is_argument: impl Fn(&str) -> bool, mistakes: &mut Mistakes) -> Settings {
    let mut settings = Settings::default();
    let mut shared = Shared::default();
    for (attribute, tokens) in uses {
        let options = distinct_options(attribute, tokens, &is_argument, mistakes);
        let found = match attribute {
            Attribute::Transactional => {
                let (options, found) = transaction_options(options, &is_argument, mistakes);
                settings.transaction = Some(options);
                found
            }
            Attribute::RetryOnDisconnect => {
                let (options, found) = retry_options(options, mistakes);
                settings.retry = Some(options);
                found
            }
        };
        once(
            &mut shared.on,
            found.on,
            |first| format!("the other attribute says `on = {first}`: an attempt has one database, say it once"),
            mistakes,
        );
        once(&mut shared.library, found.library, |first| format!("the other attribute says `crate = {first}`: say it once"), mistakes);
        once(
            &mut shared.timeout,
            found.timeout,
            |first| format!("the other attribute says `timeout = {first}`: it is that of the whole call, say it once"),
            mistakes,
        );
    }
    match (&mut settings.transaction, &mut settings.retry) {
        (Some(transaction), _) => transaction.timeout = shared.timeout.map(Box::new),
        (None, Some(retry)) => retry.timeout = shared.timeout.map(Box::new),
        (None, None) => {}
    }
    settings.on = shared.on;
    settings.library = shared.library.and_then(|value| library(&value, mistakes));
    settings
}

/// Of two attributes that say the same, or of the only one that says it.
fn once(said: &mut Option<Expr>, found: Option<Expr>, otherwise: impl Fn(&str) -> String, mistakes: &mut Mistakes) {
    match (&*said, found) {
        (Some(first), Some(second)) => {
            let first = text(first);
            if first != text(&second) {
                mistakes.at(second, otherwise(&first));
            }
        }
        (None, found) => *said = found,
        (_, None) => {}
    }
}

fn library(value: &Expr, mistakes: &mut Mistakes) -> Option<syn::Path> {
    match plain(value) {
        Expr::Path(path) if path.qself.is_none() => return Some(path.path.clone()),
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
            mistakes.at(text, format_args!("a path, not a string: write `crate = {}`", text.value()));
        }
        other => mistakes.at(other, "`crate` takes the path of `db-core`: `crate = infra::db_core`"),
    }
    None
}

/// The options that this attribute has, each once.
fn distinct_options(
    attribute: Attribute,
    tokens: TokenStream,
    is_argument: &impl Fn(&str) -> bool,
    mistakes: &mut Mistakes,
) -> Vec<Written> {
    let (pieces, errors) = options::parse(tokens);
    let mut distinct: Vec<Written> = Vec::new();
    for piece in pieces {
        let Some(option) = understood(attribute, piece, is_argument, mistakes) else {
            continue;
        };
        let name = &option.name;
        if attribute.example(&name.to_string()).is_none() {
            mistakes.at(name, unknown_option(attribute, &option));
        } else if distinct.iter().any(|earlier| earlier.name == *name) {
            mistakes.at(name, format_args!("`{name}` is written twice: remove one"));
        } else {
            distinct.push(option);
        }
    }
    for error in errors {
        mistakes.push(error);
    }
    distinct
}

/// The option that was meant. Where it is said in another way than it should be, that is the only mistake.
fn understood(attribute: Attribute, piece: Piece, is_argument: &impl Fn(&str) -> bool, mistakes: &mut Mistakes) -> Option<Written> {
    let has = |name: &Ident| attribute.example(&name.to_string()).is_some();
    match piece {
        Piece::Option(Written { name, value: None }) if !has(&name) => match unnamed(attribute, &name.to_string(), is_argument) {
            Some(_) => understood(attribute, Piece::Unnamed(Expr::Verbatim(name.into_token_stream())), is_argument, mistakes),
            None => Some(Written { name, value: None }),
        },
        Piece::Option(option) => Some(option),
        Piece::Misspelt(option, whole) if has(&option.name) => {
            let name = &option.name;
            let is_flag = attribute.example(&name.to_string()).is_some_and(|example| name == example);
            let value = option.value.as_ref().map(text).unwrap_or_default();
            if is_flag {
                mistakes.at(whole, format_args!("`{name}` takes no value: write `{name}`, or leave it out"));
                return None;
            }
            let value = level_of(&value).filter(|_| name == "isolation").map_or(value, str::to_owned);
            mistakes.at(whole, format_args!("the value of an option follows `=`: write `{name} = {value}`"));
            (name == "on" || name == "crate").then_some(option)
        }
        Piece::Misspelt(option, _) => Some(option),
        Piece::Unnamed(value) => {
            let written = text(&value);
            match unnamed(attribute, &written, is_argument) {
                Some(meant) => mistakes.at(&value, format_args!("an option has a name: write `{meant}`")),
                None => mistakes.at(&value, needs_name(attribute)),
            }
            // The database that was meant is not missing as well.
            let name = Ident::new("on", proc_macro2::Span::call_site());
            (unnamed(attribute, &written, is_argument)?.starts_with("on = ")).then_some(Written { name, value: Some(value) })
        }
        Piece::Words(name, words) => {
            let level = level_of(&words.to_string()).filter(|_| attribute == Attribute::Transactional);
            match (name, level) {
                (None, Some(level)) => mistakes.at(words, format_args!("an option has a name: write `isolation = {level}`")),
                (None, None) => mistakes.at(words, needs_name(attribute)),
                (Some(name), Some(level)) if name == "isolation" => mistakes.at(words, format_args!("did you mean `isolation = {level}`?")),
                (Some(name), _) if name == "isolation" && has(&name) => mistakes.at(words, unknown_level()),
                (Some(name), _) => {
                    mistakes.at(words, format_args!("a value is one expression: is there a comma missing after `{name} = …`?"));
                }
            }
            None
        }
        Piece::Nothing(comma) => {
            mistakes.at(comma, "there is no option before this comma: remove one comma");
            None
        }
    }
}

/// As one would write it.
fn text(value: &Expr) -> String {
    value.to_token_stream().to_string().replace(" . ", ".").replace(" :: ", "::").replace("& ", "&")
}

fn needs_name(attribute: Attribute) -> String {
    let names = list(attribute.options().iter().map(|(name, _)| *name));
    format!("an option has a name, `name = value`: {attribute} has {names}")
}

/// The option that a value without a name is meant for.
fn unnamed(attribute: Attribute, value: &str, is_argument: &impl Fn(&str) -> bool) -> Option<String> {
    let value = value.trim_start_matches('&').trim_matches('"');
    if value == "self" || value.starts_with("self.") || is_argument(value.split('.').next().unwrap_or(value)) {
        return Some(format!("on = {value}"));
    }
    match attribute {
        Attribute::Transactional => {
            level_of(value.strip_prefix("Isolation::").unwrap_or(value)).map(|level| format!("isolation = {level}"))
        }
        Attribute::RetryOnDisconnect => value.replace('_', "").parse::<u32>().is_ok().then(|| format!("max_attempts = {value}")),
    }
}

fn unknown_option(attribute: Attribute, option: &Written) -> String {
    let name = &option.name;
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

fn transaction_options(
    written: Vec<Written>,
    is_argument: &impl Fn(&str) -> bool,
    mistakes: &mut Mistakes,
) -> (TransactionOptions, Shared) {
    let attribute = Attribute::Transactional;
    let mut options = TransactionOptions::default();
    let mut shared = Shared::default();
    for option in written {
        match option.name.to_string().as_str() {
            "isolation" => {
                options.isolation = value(attribute, &option, mistakes)
                    .and_then(|value| level(value, is_argument, mistakes))
                    .map(|level| (option.name, level));
            }
            "read_only" => options.read_only = flag(option, mistakes),
            "join" => options.join = flag(option, mistakes),
            "timeout" => shared.timeout = value(attribute, &option, mistakes).filter(|value| is_duration(&option.name, value, mistakes)),
            "idempotency_key" => options.idempotency_key = value(attribute, &option, mistakes).map(Box::new),
            "on" => shared.on = value(attribute, &option, mistakes),
            _ => shared.library = value(attribute, &option, mistakes),
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
    if let (Some(read_only), Some(_)) = (&options.read_only, &options.idempotency_key) {
        mistakes
            .at(read_only, "a call with an `idempotency_key` stores its value, which a read-only transaction cannot: remove one of them");
        options.read_only = None;
    }
    (options, shared)
}

const LEVELS: [&str; 4] = ["ReadUncommitted", "ReadCommitted", "RepeatableRead", "Serializable"];
const WORDS: [&[&str]; 4] = [&["read", "uncommitted"], &["read", "committed"], &["repeatable", "read"], &["serializable"]];

fn level(value: Expr, is_argument: &impl Fn(&str) -> bool, mistakes: &mut Mistakes) -> Option<Level> {
    match plain(&value) {
        Expr::Path(path) if path.qself.is_none() && path.path.get_ident().is_some_and(|name| !is_argument(&name.to_string())) => {
            let name = path.path.get_ident()?;
            let written = name.to_string();
            if LEVELS.into_iter().any(|level| written == level) {
                return Some(Level::Named(name.clone()));
            }
            match level_of(&written) {
                Some(level) => mistakes.at(name, format_args!("did you mean `isolation = {level}`?")),
                // The name of a constant.
                None if !written.contains(char::is_lowercase) => return Some(Level::Value(Box::new(value))),
                None => {
                    let levels = list(LEVELS.into_iter());
                    mistakes.at(name, format_args!("unknown isolation level `{name}`: there are {levels}"));
                }
            }
        }
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => match level_of(&text.value()) {
            Some(level) => mistakes.at(text, format_args!("a name, not a string: write `isolation = {level}`")),
            None => mistakes.at(text, format_args!("a name, not a string: {}", unknown_level())),
        },
        // `READ-COMMITTED`
        other @ (Expr::Lit(_) | Expr::Binary(_) | Expr::Closure(_)) => {
            match level_of(&other.to_token_stream().to_string()).filter(|_| matches!(other, Expr::Binary(_))) {
                Some(level) => mistakes.at(other, format_args!("did you mean `isolation = {level}`?")),
                None => mistakes.at(other, unknown_level()),
            }
        }
        _ => return Some(Level::Value(Box::new(value))),
    }
    None
}

fn unknown_level() -> String {
    format!("`isolation` takes one of {}", list(LEVELS.into_iter()))
}

/// `READ COMMITTED`, `read-committed` and `Committed` mean `ReadCommitted`; `Read` may mean two.
fn level_of(written: &str) -> Option<&'static str> {
    let letters: String = written.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    by_part(&letters, &WORDS).map(|index| LEVELS[index])
}

fn retry_options(written: Vec<Written>, mistakes: &mut Mistakes) -> (RetryOptions, Shared) {
    let attribute = Attribute::RetryOnDisconnect;
    let mut options = RetryOptions::default();
    let mut shared = Shared::default();
    for option in written {
        let Some(value) = value(attribute, &option, mistakes) else {
            continue;
        };
        let name = option.name;
        match name.to_string().as_str() {
            "on" => shared.on = Some(value),
            "crate" => shared.library = Some(value),
            "timeout" => shared.timeout = is_duration(&name, &value, mistakes).then_some(value),
            "max_attempts" => {
                if attempts(&value, mistakes) {
                    options.settings.push((name, value));
                }
            }
            "policy" => match plain(&value) {
                Expr::Lit(literal) => mistakes.at(literal, "`policy` takes a `RetryPolicy`, such as `RetryPolicy::default()`"),
                Expr::Closure(closure) => mistakes.at(
                    closure,
                    "`policy` takes a `RetryPolicy`, not a closure: for single settings write `max_attempts = 3` and the like",
                ),
                _ => options.policy = Some(Box::new(value)),
            },
            _ => {
                if is_duration(&name, &value, mistakes) {
                    options.settings.push((name, value));
                }
            }
        }
    }
    delays_in_order(&options, mistakes);
    (options, shared)
}

fn is_duration(name: &Ident, value: &Expr, mistakes: &mut Mistakes) -> bool {
    let Expr::Lit(literal) = plain(value) else {
        return true;
    };
    mistakes.at(literal, format_args!("`{name}` takes a `Duration`, such as `Duration::from_millis(50)`"));
    false
}

/// What is no literal is left to the compiler, which knows its type and value.
fn attempts(value: &Expr, mistakes: &mut Mistakes) -> bool {
    let Expr::Lit(ExprLit { lit, .. }) = plain(value) else {
        return true;
    };
    match lit {
        Lit::Int(number) if number.base10_parse::<u64>().is_ok_and(|number| number == 0) => {
            mistakes.at(number, "the first attempt counts: `max_attempts = 1` runs the body once, without a retry");
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
    let Expr::Call(call) = plain(duration) else {
        return None;
    };
    let (Expr::Path(constructor), [Expr::Lit(ExprLit { lit: Lit::Int(number), .. })]) =
        (plain(&call.func), call.args.iter().map(plain).collect::<Vec<_>>().as_slice())
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
    fn a_level_is_recognised_by_what_only_it_can_mean() {
        for (written, level) in [
            ("READ COMMITTED", Some("ReadCommitted")),
            ("Committed", Some("ReadCommitted")),
            ("comitted", Some("ReadCommitted")),
            ("ReadCommited", Some("ReadCommitted")),
            ("Commit", Some("ReadCommitted")),
            ("READ_UNCOMMITTED", Some("ReadUncommitted")),
            ("Uncommitted", Some("ReadUncommitted")),
            ("uncommited", Some("ReadUncommitted")),
            ("repeatable-read", Some("RepeatableRead")),
            ("Repeatable", Some("RepeatableRead")),
            ("RepeatbleRead", Some("RepeatableRead")),
            ("Serialisable", Some("Serializable")),
            ("Serial", Some("Serializable")),
            ("Read", None),
            ("Reed", None),
            ("Snapshot", None),
            ("Level", None),
            ("", None),
        ] {
            assert_eq!(level_of(written), level, "{written}");
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
