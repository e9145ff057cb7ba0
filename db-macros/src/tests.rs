//! What is generated, as formatted code. `UPDATE_EXPECT=1 cargo test -p db-macros` writes it anew.

use expect_test::{Expect, expect};
use proc_macro_crate::FoundCrate;
use proc_macro2::TokenStream;

use crate::apply;
use crate::runtime::Runtime;
use crate::valid::Attribute::{RetryOnDisconnect, Transactional};

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
    apply(attribute, tokens(options), tokens(item), &Runtime::new(FoundCrate::Itself))
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
                tx: &::db_core::__private::Scope<'_>,
                from: &'a str,
                amount: T,
            ) -> Result<(), BankError>
            where
                T: Copy,
            {
                ::db_core::__private::transactional(
                    tx,
                    ::db_core::__private::TxOptions::new(),
                    |tx: &mut Transaction<'_>| -> Result<(), BankError> {
                        debit(tx, from, amount)?;
                        Ok(())
                    },
                    |error| ::db_core::__inspect!(error),
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
                tx: &::db_core::__private::Scope<'_>,
                id: &u64,
                rows: &mut Vec<Row>,
                name: String,
                argument5: (u8, u8),
                _: Job,
            ) -> Result<u64> {
                ::db_core::__private::retrying_transactional(
                    tx,
                    |policy| policy.max_attempts(5).base_delay(Duration::from_millis(10)),
                    ::db_core::__private::TxOptions::new()
                        .isolation(::db_core::__private::Isolation::ReadCommitted)
                        .read_only(true),
                    |attempt: Attempt, tx: &mut Transaction<'_>| -> Result<u64> {
                        let rows = &mut *rows;
                        let mut name = ::core::clone::Clone::clone(&name);
                        let (a, b) = ::core::clone::Clone::clone(&argument5);
                        match () {
                            () => {
                                name.push('!');
                                tx.exec_drop("...", (id, name))?;
                                Ok(1)
                            }
                        }
                    },
                    |error| ::db_core::__inspect!(error),
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
            fn count(_tx: &::db_core::__private::Scope<'_>, table: &str) -> Result<u64> {
                ::db_core::__private::retrying_transactional(
                    _tx,
                    |policy| policy,
                    ::db_core::__private::TxOptions::new(),
                    |_, _tx: &mut Transaction<'_>| -> Result<u64> { Ok(1) },
                    |error| ::db_core::__inspect!(error),
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
                    |error| ::db_core::__inspect!(error),
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
                        ::db_core::__private::TxOptions::new().join(true),
                        |tx: &mut Transaction<'_>| -> Result<(), Error> { insert(tx, name) },
                        |error| ::db_core::__inspect!(error),
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
                fn finish(self: Arc<Self>, tx: &::db_core::__private::Scope<'_>) -> Result<()> {
                    ::db_core::__private::retrying_transactional(
                        tx,
                        |policy| policy,
                        ::db_core::__private::TxOptions::new(),
                        |_, tx: &mut Transaction<'_>| -> Result<()> {
                            let mut this = ::core::clone::Clone::clone(&self);
                            match () {
                                () => {
                                    tx.query_drop(format!("... {}", this.name))?;
                                    self::log();
                                    impl Other {
                                        fn get(self) -> u8 {
                                            self.0
                                        }
                                    }
                                    tx.after_commit(move || drop(this));
                                    Ok(())
                                }
                            }
                        },
                        |error| ::db_core::__inspect!(error),
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
                tx: &'t ::db_core::__private::Scope<'_>,
                name: &'t str,
            ) -> Result<&'t str> {
                ::db_core::__private::transactional(
                    tx,
                    ::db_core::__private::TxOptions::new(),
                    |#[allow(unused)] mut tx: &'_ mut db_core::Transaction<'_>| -> Result<&'t str> {
                        Ok(name)
                    },
                    |error| ::db_core::__inspect!(error),
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
                tx: &::db_core::__private::Scope<'_>,
            ) -> Result<impl Iterator<Item = u64> + use<>, Error> {
                #![allow(unused)]
                ::db_core::__private::transactional(
                    tx,
                    ::db_core::__private::TxOptions::new(),
                    |_: &mut Transaction<'_>| -> Result<_, Error> { Ok(0..3) },
                    |error| ::db_core::__inspect!(error),
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
            fn insert(tx: &::db_core::__private::Scope<'_>) -> Result<()> {
                ::db_core::__private::retrying_transactional(
                    tx,
                    |policy| policy,
                    ::db_core::__private::TxOptions::new(),
                    |_, tx: &mut Transaction<'_>| -> Result<()> { Ok(()) },
                    |error| ::db_core::__inspect!(error),
                )
            }
            ::core::compile_error! {
                "`#[retry_on_disconnect]` goes above `#[transactional]`: every attempt is a transaction of its own"
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
                id
            }
            ::core::compile_error! {
                "the first run counts: `max_attempts = 1` runs the body once and never again"
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

#[test]
fn a_renamed_dependency_is_called_by_its_new_name() {
    let item = "fn insert(tx: &mut Transaction<'_>) -> Result<()> { Ok(()) }";
    let runtime = Runtime::new(FoundCrate::Name("database".to_owned()));
    let expanded = apply(RetryOnDisconnect, TokenStream::new(), tokens(&format!("#[transactional] {item}")), &runtime);
    let expanded = formatted(expanded);
    assert!(expanded.contains("::database::"), "{expanded}");
    assert!(!expanded.contains("db_core"), "{expanded}");
}
