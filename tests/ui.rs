//! What the attributes accept, and where the caret lands when they do not: each file in `ui/fail` is named by its mistake.
//!
//! Compiled only, so no server is needed. `TRYBUILD=overwrite cargo test -p tests --test ui` writes the `.stderr` files anew.

#[test]
fn every_shape_of_function_is_accepted_and_every_mistake_reported_where_it_is() {
    // In one run, since each builds a project of its own.
    let cases = trybuild::TestCases::new();
    cases.pass("ui/pass/*.rs");
    cases.compile_fail("ui/fail/*.rs");
}
