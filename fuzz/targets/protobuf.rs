//! Bodies in protobuf, of any built-in kind: the first two bytes say which. What is read can be written and read again.

#![no_main]

use coracle_api::decode::Format;
use coracle_api::protobuf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [high, low, message @ ..] = data else { return };
    // As it is, and as the message within an envelope that fits: few would be found by chance.
    let kind = coracle_fuzz::kind(u16::from_be_bytes([*high, *low]));
    coracle_fuzz::take(kind, message, Format::Protobuf);
    coracle_fuzz::take(kind, &protobuf::wrap(kind.api_version(), &kind.kind, message), Format::Protobuf);
    let Some(def) = kind.def() else { return };
    let Ok(value) = protobuf::decode(def, message) else { return };
    let written = protobuf::encode(def, &value);
    let again = protobuf::decode(def, &written).expect("it was written here");
    assert_eq!(protobuf::encode(def, &again), written);
});
