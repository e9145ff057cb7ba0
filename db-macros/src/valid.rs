//! What is refused, and what to write instead?
//!
//! Every message of the two macros is in this file. A mistake in the options leaves the option out and the function
//! wrapped; a mistake in the function leaves the item as it is. Either way one mistake gives one error.

use std::fmt::Display;

use proc_macro2::{Group, Ident, TokenStream};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::{Expr, ExprLit, ExprPath, FnArg, Lit, Meta, ReturnType, Type};

use crate::function::{self, Body, Function, Role};
use crate::options::{self, Written};

/// The two macros, as their users write them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribute {
    Transactional,
    RetryOnDisconnect,
}

impl Attribute {
    const ALL: [Self; 2] = [Self::Transactional, Self::RetryOnDisconnect];

    fn name(self) -> &'static str {
        match self {
            Self::Transactional => "transactional",
            Self::RetryOnDisconnect => "retry_on_disconnect",
        }
    }

    /// The options, each in the form that a message shows.
    fn options(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Transactional => {
                &[("isolation", "isolation = ReadCommitted"), ("read_only", "read_only"), ("join", "join"), ("on", "on = self.db")]
            }
            Self::RetryOnDisconnect => &[
                ("max_attempts", "max_attempts = 5"),
                ("base_delay", "base_delay = Duration::from_millis(50)"),
                ("max_delay", "max_delay = Duration::from_secs(2)"),
                ("max_elapsed", "max_elapsed = Duration::from_secs(30)"),
                ("policy", "policy = self.retry_policy"),
                ("on", "on = self.db"),
            ],
        }
    }

    fn example(self, option: &str) -> Option<&'static str> {
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

/// What is wrong with one use of the macros, all of it.
#[derive(Default)]
pub(crate) struct Mistakes(Option<syn::Error>);

impl Mistakes {
    fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    fn at(&mut self, offending: impl ToTokens, message: impl Display) {
        self.push(syn::Error::new_spanned(offending, message));
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn append(&mut self, other: Self) {
        if let Some(error) = other.0 {
            self.push(error);
        }
    }

    pub(crate) fn into_compile_errors(self) -> Option<TokenStream> {
        self.0.map(syn::Error::into_compile_error)
    }
}

/// What becomes of the item.
pub(crate) enum Checked {
    Wrap(Box<Wrapper>),
    /// As written, but for our attributes: the compiler would expand them again, and report the mistake again.
    Leave(TokenStream),
}

/// A function that can be wrapped, and how.
pub(crate) struct Wrapper {
    pub(crate) function: Function,
    /// The function's body, which becomes the closure's.
    pub(crate) block: Group,
    pub(crate) scope: Scope,
    pub(crate) kind: Kind,
}

/// Where the function gets its database, or the transaction that it joins.
pub(crate) enum Scope {
    /// From the caller, by this parameter.
    Parameter(usize),
    /// From `on = …`.
    Expression(Expr),
}

pub(crate) enum Kind {
    Transactional(Transaction),
    Retrying(Retry),
    RetryingTransactional(Retry, Transaction),
}

pub(crate) struct Transaction {
    /// The parameter that is the transaction.
    pub(crate) parameter: usize,
    pub(crate) options: TransactionOptions,
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

pub(crate) struct Retry {
    /// The parameter that tells the body which attempt it is in.
    pub(crate) attempt: Option<usize>,
    pub(crate) options: RetryOptions,
}

#[derive(Default)]
pub(crate) struct RetryOptions {
    /// In place of the database's policy.
    pub(crate) policy: Option<Expr>,
    /// Single settings, each on top of that policy.
    pub(crate) settings: Vec<(Ident, Expr)>,
}

/// Reads one use of an attribute, and says what is wrong with it.
pub(crate) fn check(attribute: Attribute, options: TokenStream, item: TokenStream) -> (Checked, Mistakes) {
    let mut mistakes = Mistakes::default();
    let Item { mut attrs, rest } = match syn::parse2(item.clone()) {
        Ok(item) => item,
        Err(error) => {
            mistakes.push(error);
            return (Checked::Leave(item), mistakes);
        }
    };
    let uses = uses(attribute, options, &mut attrs, &mut mistakes);
    let function: Function = match syn::parse2(rest.clone()) {
        Ok(function) => Function { attrs, ..function },
        Err(error) if function::looks_like_a_function(&rest) => {
            mistakes.push(error);
            return (Checked::Leave(Item { attrs, rest }.into_token_stream()), mistakes);
        }
        Err(_) => {
            mistakes.at(function::keyword(&rest), format_args!("{attribute} goes on a function or method that has a body"));
            return (Checked::Leave(Item { attrs, rest }.into_token_stream()), mistakes);
        }
    };

    let (on, transaction, retry) = read_options(uses, &mut mistakes);
    let mut wrong = check_function(attribute, &function);
    let wrapping = find_parameters(&function, on, transaction, retry, &mut wrong);
    let checked = match (wrapping, &function.body) {
        (Some((scope, kind)), Body::Block(block)) if wrong.is_empty() => {
            let block = block.clone();
            Checked::Wrap(Box::new(Wrapper { function, block, scope, kind }))
        }
        _ => Checked::Leave(without_consequences(function).into_token_stream()),
    };
    mistakes.append(wrong);
    (checked, mistakes)
}

/// Any item: its attributes come first, whatever it is.
struct Item {
    attrs: Vec<syn::Attribute>,
    rest: TokenStream,
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self { attrs: input.call(syn::Attribute::parse_outer)?, rest: input.parse()? })
    }
}

impl ToTokens for Item {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        for attr in &self.attrs {
            attr.to_tokens(tokens);
        }
        tokens.extend(self.rest.clone());
    }
}

/// The attribute being expanded, and the other one where it stands below: taken off, since both expand as one.
fn uses(
    attribute: Attribute,
    options: TokenStream,
    attrs: &mut Vec<syn::Attribute>,
    mistakes: &mut Mistakes,
) -> Vec<(Attribute, TokenStream)> {
    let mut uses = vec![(attribute, options)];
    attrs.retain(|attr| {
        let Some(below) = Attribute::of(attr) else {
            return true;
        };
        let path = attr.path();
        if uses.iter().any(|(seen, _)| *seen == below) {
            mistakes.at(path, format_args!("{below} is written twice: remove one"));
            return false;
        }
        if attribute == Attribute::Transactional {
            mistakes.at(path, "`#[retry_on_disconnect]` goes above `#[transactional]`: every attempt is a transaction of its own");
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

/// The options of both attributes, and the one database that both may name.
fn read_options(
    uses: Vec<(Attribute, TokenStream)>,
    mistakes: &mut Mistakes,
) -> (Option<Expr>, Option<TransactionOptions>, Option<RetryOptions>) {
    let mut on: Option<Expr> = None;
    let mut transaction = None;
    let mut retry = None;
    for (attribute, tokens) in uses {
        let options = distinct_options(attribute, tokens, mistakes);
        let database = match attribute {
            Attribute::Transactional => {
                let (options, database) = transaction_options(options, mistakes);
                transaction = Some(options);
                database
            }
            Attribute::RetryOnDisconnect => {
                let (options, database) = retry_options(options, mistakes);
                retry = Some(options);
                database
            }
        };
        match (&on, database) {
            (Some(first), Some(second)) if same_tokens(first, &second) => {}
            (Some(first), Some(second)) => {
                let first = first.to_token_stream();
                mistakes.at(second, format_args!("the other attribute says `on = {first}`: an attempt has one database, say it once"));
            }
            (None, Some(database)) => on = Some(database),
            (_, None) => {}
        }
    }
    (on, transaction, retry)
}

/// The options that this attribute has, each once.
fn distinct_options(attribute: Attribute, tokens: TokenStream, mistakes: &mut Mistakes) -> Vec<Written> {
    let (written, error) = options::parse(tokens);
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

const LEVELS: [&str; 4] = ["ReadUncommitted", "ReadCommitted", "RepeatableRead", "Serializable"];

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
                    options.policy = Some(value);
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
        Lit::Int(_) => true,
        lit => {
            mistakes.at(lit, "`max_attempts` takes a number: `max_attempts = 5`");
            false
        }
    }
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

/// The function as it was meant where its body would not compile as it is: that would be the same mistake once more.
fn without_consequences(mut function: Function) -> Function {
    function.sig.constness = None;
    for input in &mut function.sig.inputs {
        let FnArg::Typed(parameter) = input else {
            continue;
        };
        let ty = match function::plain(&parameter.ty) {
            Type::Reference(reference) => &reference.elem,
            ty => ty,
        };
        if function::last_segment(ty).is_some_and(|name| name == "Transaction") {
            *parameter.ty = syn::parse_quote!(&mut #ty);
        }
    }
    function
}

/// What no parameter can mend.
fn check_function(attribute: Attribute, function: &Function) -> Mistakes {
    let mut wrong = Mistakes::default();
    let sig = &function.sig;
    if let Some(asyncness) = &sig.asyncness {
        wrong.at(
            asyncness,
            "the driver blocks its thread: remove `async`, and call the function inside `tokio::task::spawn_blocking` \
             or your runtime's equivalent",
        );
    }
    if let Some(constness) = &sig.constness {
        wrong.at(constness, "a `const fn` may run in the compiler, which has no database: remove `const`");
    }
    if let Some(abi) = &sig.abi {
        wrong.at(
            abi,
            format_args!(
                "other languages rely on this signature, and {attribute} changes it: put the attribute on a Rust \
                 function, and call that from here"
            ),
        );
    } else if let Some(variadic) = &sig.variadic {
        wrong.at(variadic, "variadic arguments cannot be handed on: take a slice instead");
    }
    if let Body::Missing(semi) = &function.body {
        wrong.at(
            semi,
            format_args!(
                "there is no body to wrap: declare the method with `tx: &Scope<'_>`, and put {attribute} on the \
                 methods that implement it"
            ),
        );
    }
    match &sig.output {
        ReturnType::Default => {
            wrong.at(&sig.ident, format_args!("{attribute} decides by `Ok` or `Err`: return a `Result`, such as `-> db_core::Result<()>`"))
        }
        ReturnType::Type(_, ty) if is_surely_no_result(ty) => {
            wrong.at(ty, format_args!("{attribute} decides by `Ok` or `Err`: return a `Result`, such as `db_core::Result<…>`"))
        }
        ReturnType::Type(..) => {}
    }
    wrong
}

/// A path may be an alias of `Result` under any name, and a macro expand to one; the compiler knows. Only what can be
/// no alias is refused here, where the message can say why.
fn is_surely_no_result(ty: &Type) -> bool {
    const NO_RESULT: &[&str] = &[
        "bool", "char", "str", "String", "Option", "Vec", "Box", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16",
        "u32", "u64", "u128", "usize",
    ];
    match function::plain(ty) {
        Type::Path(_) => function::last_segment(ty).is_some_and(|name| NO_RESULT.iter().any(|other| name == other)),
        Type::Macro(_) | Type::Verbatim(_) => false,
        _ => true,
    }
}

/// Which parameter is what, for the attributes that are there.
fn find_parameters(
    function: &Function,
    on: Option<Expr>,
    transaction: Option<TransactionOptions>,
    retry: Option<RetryOptions>,
    wrong: &mut Mistakes,
) -> Option<(Scope, Kind)> {
    let attempt = only(function, Role::Attempt, wrong, "the body runs in one attempt at a time: remove this parameter");
    match (transaction, retry) {
        (Some(options), retry) => {
            let parameter = transaction_parameter(function, wrong)?;
            let scope = on.map_or(Scope::Parameter(parameter), Scope::Expression);
            let transaction = Transaction { parameter, options };
            let kind = match retry {
                Some(options) => Kind::RetryingTransactional(Retry { attempt, options }, transaction),
                None => {
                    if let Some(attempt) = attempt {
                        wrong.at(
                            &function.sig.inputs[attempt],
                            "the attempt comes from `#[retry_on_disconnect]`: add it above `#[transactional]`",
                        );
                    }
                    Kind::Transactional(transaction)
                }
            };
            Some((scope, kind))
        }
        (None, Some(options)) => {
            let scope = match on {
                Some(on) => Scope::Expression(on),
                None => Scope::Parameter(database_parameter(function, wrong)?),
            };
            refuse_open_transaction(function, wrong);
            Some((scope, Kind::Retrying(Retry { attempt, options })))
        }
        (None, None) => None,
    }
}

fn transaction_parameter(function: &Function, wrong: &mut Mistakes) -> Option<usize> {
    let extra = "the function runs in one transaction: remove this parameter";
    if let Some(parameter) = only(function, Role::Transaction, wrong, extra) {
        return Some(parameter);
    }
    let near = |name: &Ident| ["Transaction", "Scope", "Db"].iter().any(|near| name == near);
    match near_miss(function, near) {
        Some(ty) => wrong.at(
            ty,
            "write the function against a transaction, `tx: &mut Transaction<'_>`: it can then be called with a \
             database or with a transaction",
        ),
        None => wrong.push(syn::Error::new(
            function.sig.paren_token.span.join(),
            "there is no transaction to work in: add the parameter `tx: &mut Transaction<'_>`",
        )),
    }
    None
}

fn database_parameter(function: &Function, wrong: &mut Mistakes) -> Option<usize> {
    let extra = "which database to watch is not clear: say it, such as `#[retry_on_disconnect(on = db)]`";
    if let Some(parameter) = only(function, Role::Database, wrong, extra) {
        return Some(parameter);
    }
    if refuse_open_transaction(function, wrong) {
        return None;
    }
    match near_miss(function, |name| name == "Db" || name == "Scope") {
        Some(ty) => wrong.at(ty, "borrow the database, `&Db`, or say where it is: `#[retry_on_disconnect(on = …)]`"),
        None => wrong.push(syn::Error::new(
            function.sig.paren_token.span.join(),
            "there is no database to watch: add the parameter `db: &Db`, or say where it is: \
             `#[retry_on_disconnect(on = self.db)]`",
        )),
    }
    None
}

/// With `#[retry_on_disconnect]` alone.
fn refuse_open_transaction(function: &Function, wrong: &mut Mistakes) -> bool {
    let Some(ty) = near_miss(function, |name| name == "Transaction") else {
        return false;
    };
    wrong.at(
        ty,
        "a transaction that is already open cannot be tried again: add `#[transactional]` below \
         `#[retry_on_disconnect]`, and each attempt gets its own",
    );
    true
}

/// The first parameter in this role; any other is one too many.
fn only(function: &Function, wanted: Role, wrong: &mut Mistakes, extra: &str) -> Option<usize> {
    let mut found = None;
    for (index, input) in function.sig.inputs.iter().enumerate() {
        if function::role(input) == wanted {
            match found {
                None => found = Some(index),
                Some(_) => wrong.at(input, extra),
            }
        }
    }
    found
}

/// A parameter's type that is, or refers to, one of the wanted names.
fn near_miss(function: &Function, wanted: impl Fn(&Ident) -> bool) -> Option<&Type> {
    function.sig.inputs.iter().find_map(|input| {
        let FnArg::Typed(parameter) = input else {
            return None;
        };
        let referred = match function::plain(&parameter.ty) {
            Type::Reference(reference) => &reference.elem,
            ty => ty,
        };
        function::last_segment(referred).is_some_and(&wanted).then_some(&*parameter.ty)
    })
}

fn same_tokens(one: &Expr, other: &Expr) -> bool {
    one.to_token_stream().to_string() == other.to_token_stream().to_string()
}

/// `a`, `b` and `c`, in backticks.
fn list(names: impl Iterator<Item = &'static str>) -> String {
    let quoted: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// The name that was meant: contained in what was written, or the other way round, or a typing error away.
fn nearest(written: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let written = written.to_lowercase();
    let distance = |name: &str| {
        let name = name.to_lowercase();
        let contained = written.len().min(name.len()) > 3 && (name.contains(&written) || written.contains(&name));
        if contained { 1 } else { keystrokes(&written, &name) }
    };
    names
        .map(|name| (distance(name), name))
        .filter(|(distance, name)| *distance <= (name.len() / 2).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The Levenshtein distance.
fn keystrokes(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, left) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in to.chars().enumerate() {
            let substituted = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found() {
        let names = || ["isolation", "read_only", "join", "max_attempts", "on"].into_iter();
        for (written, meant) in [
            ("isolaton", Some("isolation")),
            ("isolation_level", Some("isolation")),
            ("readonly", Some("read_only")),
            ("attempts", Some("max_attempts")),
            ("jion", Some("join")),
            ("timeout", None),
            ("connection", None),
        ] {
            assert_eq!(nearest(written, names()), meant, "{written}");
        }
    }

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
}
