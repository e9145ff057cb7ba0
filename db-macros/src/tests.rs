//! The generated code, formatted. `UPDATE_EXPECT=1 cargo test -p db-macros` writes it anew.

use expect_test::{Expect, expect};
use proc_macro2::TokenStream;

use crate::apply;
use crate::attribute::Attribute::{RetryOnDisconnect, Transactional};
use crate::runtime::Runtime;

fn tokens(text: &str) -> TokenStream {
    text.parse().expect("a test's own tokens")
}

/// The item of `text`, whose first attribute is the one that the compiler expands first.
fn expand(text: &str) -> TokenStream {
    let rest = text.trim_start().strip_prefix("#[").expect("an attribute");
    let (first, item) = rest.split_once("]\n").expect("an item");
    let (name, options) = first.split_once('(').unwrap_or((first, ")"));
    let attribute = match name {
        "transactional" => Transactional,
        "retry_on_disconnect" => RetryOnDisconnect,
        other => panic!("no attribute of ours: {other}"),
    };
    let options = options.strip_suffix(')').expect("closed parentheses");
    apply(attribute, tokens(options), tokens(item), &Runtime::named("db_core".to_owned()))
}

fn formatted(tokens: TokenStream) -> String {
    prettyplease::unparse(&syn::parse2(tokens).expect("items"))
}

fn check(text: &str, expected: &Expect) {
    expected.assert_eq(&formatted(expand(text)));
}

/// A method is no item of its own.
fn check_method(text: &str, expected: &Expect) {
    let method = expand(text);
    expected.assert_eq(&formatted(quote::quote!(impl Store { #method })));
}

#[test]
fn transactional_hands_the_body_to_one_call() {
    check(
        r#"
#[transactional]
/// Documented.
#[must_use]
pub(crate) fn transfer<'a, T: Amount>(tx: &mut Transaction<'_>, from: &'a str, amount: T) -> Result<(), BankError>
where
    T: Copy,
{
    debit(tx, from, amount)?;
    Ok(())
}
"#,
        &expect![[r#"
            /// Documented.
            #[must_use]
            pub(crate) fn transfer<'a, T: Amount>(
                tx: &::db_core::__private::ScopeOf<'_>,
                from: &'a str,
                amount: T,
            ) -> Result<(), BankError>
            where
                T: Copy,
            {
                ::db_core::__private::transactional(
                    tx,
                    ::db_core::__private::TxOptionsOf::new(),
                    |tx: &mut Transaction<'_>| -> Result<(), BankError> {
                        debit(tx, from, amount)?;
                        Ok(())
                    },
                    ::db_core::__private::InspectOf::<Result<(), BankError>>::HERE.look(),
                )
            }
        "#]],
    );
}

#[test]
fn retry_wraps_the_transaction_and_clones_what_an_attempt_uses_up() {
    check(
        r#"
#[retry_on_disconnect(max_attempts = 5, base_delay = Duration::from_millis(10))]
#[transactional(isolation = ReadCommitted, read_only)]
fn rename(tx: &mut Transaction<'_>, attempt: Attempt, id: &u64, rows: &mut Vec<Row>, mut name: String, (a, b): (u8, u8), _: Job) -> Result<u64> {
    name.push('!');
    tx.exec_drop("...", (id, name))?;
    Ok(1)
}
"#,
        &expect![[r#"
            fn rename(
                tx: &::db_core::__private::ScopeOf<'_>,
                id: &u64,
                rows: &mut Vec<Row>,
                name: String,
                __argument5: (u8, u8),
                _: Job,
            ) -> Result<u64> {
                use transactional as _;
                let name = name;
                ::db_core::__private::retrying_transactional(
                    tx,
                    |__policy| __policy.max_attempts(5).base_delay(Duration::from_millis(10)),
                    ::db_core::__private::TxOptionsOf::new()
                        .isolation(::db_core::__private::IsolationOf::ReadCommitted)
                        .read_only(true),
                    |attempt: Attempt, tx: &mut Transaction<'_>| -> Result<u64> {
                        let rows = &mut *rows;
                        let mut name = ::db_core::__private::CloneOf::clone(&name);
                        let (a, b) = ::db_core::__private::CloneOf::clone(&__argument5);
                        match () {
                            () => {
                                name.push('!');
                                tx.exec_drop("...", (id, name))?;
                                Ok(1)
                            }
                        }
                    },
                    ::db_core::__private::InspectOf::<Result<u64>>::HERE.look(),
                )
            }
        "#]],
    );
}

#[test]
fn the_idempotency_key_is_borrowed_once_in_front_of_the_attempts() {
    check(
        r#"
#[retry_on_disconnect]
#[transactional(idempotency_key = request.id)]
fn pay(tx: &mut Transaction<'_>, request: Payment) -> Result<u64> {
    tx.exec_drop("...", (request.cents,))
}
"#,
        &expect![[r#"
            fn pay(tx: &::db_core::__private::ScopeOf<'_>, request: Payment) -> Result<u64> {
                use transactional as _;
                let request = request;
                ::db_core::__private::retrying_transactional_once(
                    tx,
                    ::db_core::__private::unchanged,
                    ::db_core::__private::IdempotencyKeyOf::new(&request.id),
                    ::db_core::__private::TxOptionsOf::new(),
                    |_, tx: &mut Transaction<'_>| -> Result<u64> {
                        let request = ::db_core::__private::CloneOf::clone(&request);
                        let _ = &request;
                        match () {
                            () => tx.exec_drop("...", (request.cents,)),
                        }
                    },
                    ::db_core::__private::InspectOf::<Result<u64>>::HERE.look(),
                )
            }
        "#]],
    );
}

#[test]
fn a_body_whose_arguments_need_nothing_stays_as_it_is() {
    check(
        r"
#[retry_on_disconnect]
#[transactional]
fn count(_tx: &mut Transaction<'_>, table: &str) -> Result<u64> {
    Ok(1)
}
",
        &expect![[r#"
            fn count(_tx: &::db_core::__private::ScopeOf<'_>, table: &str) -> Result<u64> {
                use transactional as _;
                ::db_core::__private::retrying_transactional(
                    _tx,
                    ::db_core::__private::unchanged,
                    ::db_core::__private::TxOptionsOf::new(),
                    |_, _tx: &mut Transaction<'_>| -> Result<u64> { Ok(1) },
                    ::db_core::__private::InspectOf::<Result<u64>>::HERE.look(),
                )
            }
        "#]],
    );
}

#[test]
fn retry_alone_watches_the_database() {
    check(
        r"
#[retry_on_disconnect(policy = settings.policy, max_attempts = 2)]
fn in_batches(db: &Db, settings: &Settings, attempt: Attempt) -> db_core::Result<()> {
    db.transaction(|tx| work(tx, attempt))
}
",
        &expect![[r#"
            fn in_batches(db: &Db, settings: &Settings) -> db_core::Result<()> {
                ::db_core::__private::retrying(
                    db,
                    |_| settings.policy.max_attempts(2),
                    |attempt: Attempt| -> db_core::Result<()> {
                        db.transaction(|tx| work(tx, attempt))
                    },
                    ::db_core::__private::InspectOf::<db_core::Result<()>>::HERE.look(),
                )
            }
        "#]],
    );
}

#[test]
fn on_takes_the_transaction_out_of_the_signature() {
    check_method(
        r"
#[transactional(on = self.db, join)]
pub fn new_row(&self, tx: &mut Transaction<'_>, name: &str) -> Result<(), Error> {
    insert(tx, name)
}
",
        &expect![[r#"
            impl Store {
                pub fn new_row(&self, name: &str) -> Result<(), Error> {
                    ::db_core::__private::transactional(
                        &self.db,
                        ::db_core::__private::TxOptionsOf::new().join(true),
                        |tx: &mut Transaction<'_>| -> Result<(), Error> { insert(tx, name) },
                        ::db_core::__private::InspectOf::<Result<(), Error>>::HERE.look(),
                    )
                }
            }
        "#]],
    );
}

#[test]
fn a_receiver_that_is_used_up_is_cloned_under_another_name() {
    check_method(
        r#"
#[retry_on_disconnect]
#[transactional]
fn finish(mut self: Arc<Self>, tx: &mut Transaction<'_>) -> Result<()> {
    tx.query_drop(format!("... {}", self.name))?;
    self::log();
    impl Other { fn get(self) -> u8 { self.0 } }
    tx.after_commit(move || drop(self));
    Ok(())
}
"#,
        &expect![[r#"
            impl Store {
                fn finish(self: Arc<Self>, tx: &::db_core::__private::ScopeOf<'_>) -> Result<()> {
                    use transactional as _;
                    ::db_core::__private::retrying_transactional(
                        tx,
                        ::db_core::__private::unchanged,
                        ::db_core::__private::TxOptionsOf::new(),
                        |_, tx: &mut Transaction<'_>| -> Result<()> {
                            let mut __self = ::db_core::__private::CloneOf::clone(&self);
                            match () {
                                () => {
                                    tx.query_drop(format!("... {}", __self.name))?;
                                    self::log();
                                    impl Other {
                                        fn get(self) -> u8 {
                                            self.0
                                        }
                                    }
                                    tx.after_commit(move || drop(__self));
                                    Ok(())
                                }
                            }
                        },
                        ::db_core::__private::InspectOf::<Result<()>>::HERE.look(),
                    )
                }
            }
        "#]],
    );
}

#[test]
fn lifetimes_of_the_transaction_stay_in_the_signature_only() {
    check(
        r"
#[transactional]
fn named<'t, 'c>(#[allow(unused)] mut tx: &'t mut db_core::Transaction<'c>, name: &'t str) -> Result<&'t str> {
    Ok(name)
}
",
        &expect![[r#"
            fn named<'t, 'c>(
                #[allow(unused)]
                tx: &'t ::db_core::__private::ScopeOf<'_>,
                name: &'t str,
            ) -> Result<&'t str> {
                ::db_core::__private::transactional(
                    tx,
                    ::db_core::__private::TxOptionsOf::new(),
                    |#[allow(unused)] mut tx: &'_ mut db_core::Transaction<'_>| -> Result<&'t str> {
                        Ok(name)
                    },
                    ::db_core::__private::InspectOf::<Result<&'t str>>::HERE.look(),
                )
            }
        "#]],
    );
}

#[test]
fn an_opaque_return_type_is_inferred_inside() {
    check(
        r"
#[transactional]
fn ids(_: &mut Transaction<'_>) -> Result<impl Iterator<Item = u64> + use<>, Error> {
    #![allow(unused)]
    Ok(0..3)
}
",
        &expect![[r#"
            fn ids(
                __tx: &::db_core::__private::ScopeOf<'_>,
            ) -> Result<impl Iterator<Item = u64> + use<>, Error> {
                #![allow(unused)]
                ::db_core::__private::transactional(
                    __tx,
                    ::db_core::__private::TxOptionsOf::new(),
                    |_: &mut Transaction<'_>| -> Result<_, Error> { Ok(0..3) },
                    |__error| ::db_core::__private::InspectOf::of(__error).look()(__error),
                )
            }
        "#]],
    );
}

#[test]
fn the_other_order_is_reported_and_wrapped_all_the_same() {
    check(
        r"
#[transactional]
#[retry_on_disconnect]
fn insert(tx: &mut Transaction<'_>) -> Result<()> {
    Ok(())
}
",
        &expect![[r#"
            fn insert(tx: &::db_core::__private::ScopeOf<'_>) -> Result<()> {
                use retry_on_disconnect as _;
                ::db_core::__private::retrying_transactional(
                    tx,
                    ::db_core::__private::unchanged,
                    ::db_core::__private::TxOptionsOf::new(),
                    |_, tx: &mut Transaction<'_>| -> Result<()> { Ok(()) },
                    ::db_core::__private::InspectOf::<Result<()>>::HERE.look(),
                )
            }
            ::core::compile_error! {
                "`#[retry_on_disconnect]` goes above `#[transactional]`: each attempt is its own transaction"
            }
        "#]],
    );
}

#[test]
fn every_mistake_is_reported_beside_the_item() {
    check(
        r#"
#[retry_on_disconnect(max_attempts = 0)]
#[transactional(isolation = "SERIALIZABLE")]
async fn insert(id: u64) -> u64 {
    id
}
"#,
        &expect![[r#"
            async fn insert(id: u64) -> u64 {
                use transactional as _;
                id
            }
            ::core::compile_error! {
                "the first attempt counts: `max_attempts = 1` runs the body once, without a retry"
            }
            ::core::compile_error! {
                "a name, not a string: write `isolation = Serializable`"
            }
            ::core::compile_error! {
                "the driver blocks its thread: remove `async`, and call the function inside `tokio::task::spawn_blocking` or your runtime's equivalent"
            }
            ::core::compile_error! {
                "`#[retry_on_disconnect]` decides by `Ok` or `Err`: return a `Result`, such as `db_core::Result<…>`"
            }
            ::core::compile_error! {
                "there is no transaction to work in: add the parameter `tx: &mut Transaction<'_>`"
            }
        "#]],
    );
}

/// Every function that can be wrapped, with each option, parameter and receiver that changes what is generated.
const SHAPES: &[&str] = &[
    "#[transactional]\nfn f(tx: &mut Transaction<'_>, id: u64) -> Result<u64> { body!() }",
    "#[transactional(isolation = Serializable, read_only)]\nfn f(_: &mut Transaction<'_>) -> Result<impl Sized> { body!() }",
    "#[transactional(on = self.db, join)]\nunsafe fn f<'a, const N: usize>(&'a mut self, tx: &mut Transaction<'_>) -> Result<&'a [u8; N]> { body!() }",
    "#[retry_on_disconnect]\nfn f(db: &Db, name: String) -> Result<()> { body!() }",
    "#[retry_on_disconnect(policy = self.policy, on = self.db)]\nfn f(mut self, attempt: Attempt) -> Result<()> { body!() }",
    "#[retry_on_disconnect(max_attempts = 2)]\n#[transactional]\nfn f(self: Arc<Self>, tx: &mut Transaction<'_>, (a, _): (u8, u8), rows: &mut Vec<u8>) -> Result<()> { body!() }",
];

#[test]
fn the_body_is_there_once_and_every_path_of_ours_is_private() {
    for shape in SHAPES {
        let expanded = expand(shape).to_string();
        assert_eq!(expanded.matches("body ! ()").count(), 1, "{expanded}");
        let absolute = expanded.match_indices(":: db_core").map(|(at, _)| &expanded[at..]);
        let paths = || absolute.clone().filter(|path| !path.starts_with(":: db_core :: __private ::"));
        assert_eq!(paths().count(), 0, "{expanded}");
        let others = expanded.replace(":: db_core", "");
        assert!(!others.contains(" :: core") && !others.contains(" :: std"), "{expanded}");
        assert!(!["loop", "while", "for "].iter().any(|looping| expanded.contains(looping)), "{expanded}");
        assert!(!expanded.contains("compile_error"), "{expanded}");
    }
}

#[test]
fn a_refused_function_stays_for_its_callers_and_its_body_for_the_editor() {
    check(
        r"
#[transactional]
const fn insert(id: u64, mut tx: Transaction<'_>, attempt: Attempt) -> Result<()> {
    tx.exec_drop(id, attempt.number())
}
",
        &expect![[r#"
            fn insert(id: u64, tx: &::db_core::__private::ScopeOf<'_>) -> Result<()> {
                let mut tx: &mut Transaction<'_> = ::db_core::__private::refused();
                let attempt: Attempt = ::db_core::__private::refused();
                tx.exec_drop(id, attempt.number())
            }
            ::core::compile_error! {
                "a `const fn` may run in the compiler, which has no database: remove `const`"
            }
            ::core::compile_error! {
                "write the function against a transaction, `tx: &mut Transaction<'_>`: it can then be called with a database or with a transaction"
            }
        "#]],
    );
}

#[test]
fn a_body_that_is_being_typed_reaches_the_editor_as_it_is() {
    for item in [
        "#[transactional]\nfn f(tx: &mut Transaction<'_>, name: String) -> Result<()> { let x = tx. ; if name. { } }",
        "#[retry_on_disconnect]\n#[transactional]\nfn f(self, tx: &mut Transaction<'_>, name: String) -> Result<()> { let x = tx. ; if name. { } }",
        "#[transactional(isolation = )]\nasync fn f(tx: &mut Transaction<'_>) { let x = tx. ; if name. { } }",
    ] {
        let expanded = expand(item).to_string();
        assert_eq!(expanded.matches("let x = tx . ; if name . { }").count(), 1, "{expanded}");
    }
}

#[test]
fn a_renamed_dependency_is_called_by_its_new_name() {
    let item = "fn insert(tx: &mut Transaction<'_>) -> Result<()> { Ok(()) }";
    let runtime = Runtime::named("database".to_owned());
    let expanded = apply(RetryOnDisconnect, TokenStream::new(), tokens(&format!("#[transactional] {item}")), &runtime);
    let expanded = formatted(expanded);
    assert!(expanded.contains("::database::"), "{expanded}");
    assert!(!expanded.contains("db_core"), "{expanded}");
}
