//! Entry points for fuzzing: nothing may panic, and whatever is understood must survive being said again.

use crate::{
    ClientMessage, Frame, Frames, decode_client, decode_client_json, decode_server, encode_client,
    encode_client_json, encode_server, encode_server_json, format_token, parse_token, split,
};

/// The longest body taken while fuzzing; small, so that oversized ones are found often.
const MAX: u32 = 8192;

fn only_frame(bytes: &[u8]) -> Frame<'_> {
    let (frame, rest) = split(bytes, u32::MAX).expect("own header").expect("own frame is whole");
    assert!(rest.is_empty(), "one message is one frame");
    frame
}

/// Takes `data` for a stream of frames from a client.
pub fn fuzz_client_frame(data: &[u8]) {
    for frame in Frames::new(data, MAX) {
        let Ok(frame) = frame else { return };
        let _ = crate::claimed_id(frame);
        match decode_client(frame) {
            Ok(message) => survives_client(&message),
            Err(error) => assert!(!error.to_string().is_empty() && !error.code().name().is_empty()),
        }
    }
}

fn survives_client(message: &ClientMessage<'_>) {
    let mut bytes = Vec::new();
    encode_client(message, &mut bytes);
    assert_eq!(decode_client(only_frame(&bytes)).as_ref(), Ok(message), "binary");
    let mut text = Vec::new();
    encode_client_json(message, &mut text);
    let text = std::str::from_utf8(&text).expect("JSON is UTF-8");
    assert_eq!(decode_client_json(text).as_ref(), Ok(message), "JSON");
}

/// Takes `data` for a stream of frames from a server.
pub fn fuzz_server_frame(data: &[u8]) {
    for frame in Frames::new(data, MAX) {
        let Ok(frame) = frame else { return };
        match decode_server(frame) {
            Ok(message) => {
                let mut bytes = Vec::new();
                encode_server(&message, &mut bytes);
                assert_eq!(decode_server(only_frame(&bytes)).as_ref(), Ok(&message));
                let mut text = Vec::new();
                encode_server_json(&message, 7, &mut text);
                serde_json::from_slice::<serde::de::IgnoredAny>(&text).expect("own JSON is JSON");
            }
            Err(error) => assert!(!error.to_string().is_empty() && !error.code().name().is_empty()),
        }
    }
}

/// Takes `data` for a text from a client.
pub fn fuzz_client_json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match decode_client_json(text) {
        Ok(message) => survives_client(&message),
        Err(error) => assert!(!error.to_string().is_empty() && !error.code().name().is_empty()),
    }
}

/// Takes `data` for the token of a hold.
pub fn fuzz_token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse_token(text) {
        Ok(proof) => assert_eq!(format_token(&proof), text, "one token, one text"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
