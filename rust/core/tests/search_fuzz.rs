//! Short runs of what `make fuzz` runs for minutes: calls and files made of random bytes.

mod calls;

use proptest::prelude::*;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..1500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn prop_any_calls_keep_the_laws(bytes in bytes()) {
        calls::make_calls(&bytes);
    }

    #[test]
    fn prop_an_altered_file_is_refused_or_can_be_used(bytes in bytes()) {
        calls::file::altered_file(&bytes);
    }

    #[test]
    fn prop_any_file_is_refused_or_can_be_used(bytes in bytes()) {
        calls::file::any_file(&bytes);
    }
}
