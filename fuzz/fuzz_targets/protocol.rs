//! The MySQL protocol as the test kit's proxy reads it: no bytes are lost, however they are cut.
#![no_main]

use db_testkit::__fuzz::listen;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, Vec<(bool, Vec<u8>)>)| listen(input.0, &input.1));
