//! Random tokens: nothing panics, and every mistake has its place.

use std::ops::Range;

use proc_macro2::{TokenStream, TokenTree};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::attribute::Attribute;
use crate::runtime::Runtime;
use crate::{apply, valid};

const OPTIONS: &[&str] = &[
    "isolation = ReadCommitted, read_only, crate = infra::db_core",
    "join, on = self.db",
    "isolation = config::LEVEL, on = store.database()",
    "max_attempts = 5, base_delay = Duration::from_millis(10), max_delay = Duration::from_secs(1)",
    "policy = if fast { self.fast } else { RetryPolicy::default() }, max_elapsed = settings.patience,",
];

const ITEMS: &[&str] = &[
    "#[transactional(join)] pub(crate) fn f<'a, T>(tx: &'a mut Transaction<'_>, id: &'a T) -> Result<&'a T, E> where T: X { Ok(id) }",
    "#[transactional] fn f(mut self: Arc<Self>, tx: &mut Transaction<'_>, attempt: Attempt, (a, _): (u8, u8)) -> Result<()> { g(self) }",
    "unsafe fn f(&mut self, #[cfg(test)] _: &mut Transaction, [a, ..]: [u8; N], ref b: &mut u8) -> Result<impl X> { #![allow(x)] m!(self) }",
    "#[cfg_attr(test, transactional)] default async fn f(db: &Db, n: impl Fn(u8) -> u8) -> Result<(), E>;",
    "pub struct Store { db: Db }",
];

/// Between two spaces each.
const TOKENS: &str = "=  ,  :  ::  ->  &  mut  self  Self  'a  fn  tx  _  #  !  |  ..  <  >  ;  ?  0  1.5  -1  'c'  b\"bytes\"  \"text\"  \
    r#type  Transaction  Attempt  Db  Scope  isolation  jion  on  policy  max_attempts  base_delay  async  const  extern  dyn  impl  \
    where  ()  [0; 2]  { self }  (self, tx)  #[transactional]  #[retry_on_disconnect = 1]  Duration::from_secs(9)  transactional  \
    crate  super  $  @  ~  é";

fn token() -> impl Strategy<Value = &'static str> {
    select(TOKENS.split("  ").map(str::trim).collect::<Vec<_>>())
}

fn parsed(text: &str) -> TokenStream {
    text.parse().expect("what is put together from tokens can be taken apart")
}

/// Any tokens, or something right with a few changes.
fn mutated(right: &'static [&'static str]) -> impl Strategy<Value = TokenStream> {
    let change = (any::<Index>(), 0..4_u8, token());
    let changed = (select(right), proptest::collection::vec(change, 0..4)).prop_map(|(text, changes)| {
        let mut tokens: Vec<TokenTree> = parsed(text).into_iter().collect();
        for (at, how, token) in changes {
            let at = at.index(tokens.len() + 1);
            match how {
                0 => drop(tokens.splice(at..at, parsed(token))),
                1 if at < tokens.len() => drop(tokens.remove(at)),
                2 if at < tokens.len() => tokens.insert(at, tokens[at].clone()),
                3 if at + 1 < tokens.len() => tokens.swap(at, at + 1),
                _ => tokens.truncate(at),
            }
        }
        tokens.into_iter().collect()
    });
    let soup = proptest::collection::vec(token(), 0..12).prop_map(|tokens| parsed(&tokens.join(" ")));
    prop_oneof![3 => changed, 1 => soup]
}

fn attribute() -> impl Strategy<Value = Attribute> {
    select(Attribute::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(attribute in attribute(), options in mutated(OPTIONS), item in mutated(ITEMS)) {
        apply(attribute, options, item, &Runtime::named("db_core".to_owned()));
    }

    #[test]
    fn every_mistake_in_the_options_lies_on_one_of_their_tokens(attribute in attribute(), options in mutated(OPTIONS)) {
        let item = parsed("#[transactional] fn f(&self, tx: &mut Transaction<'_>) -> Result<()> { Ok(()) }");
        let places: Vec<_> = options.clone().into_iter().map(|token| token.span().byte_range()).collect();
        // The place of the whole attribute is none in this text.
        let lies_on_a_token = |at: Range<usize>| !at.is_empty() && places.iter().any(|place| place.contains(&at.start));
        let (_, mistakes) = valid::check(attribute, options, item, &Runtime::named("db_core".to_owned()));
        for mistake in mistakes.into_errors() {
            let said = mistake.to_string();
            let about_the_item = said.contains("written twice") || said.contains("goes above");
            prop_assert!(about_the_item || lies_on_a_token(mistake.span().byte_range()), "{said} at {:?}", mistake.span().byte_range());
        }
    }
}
