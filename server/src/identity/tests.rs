use std::os::unix::fs::PermissionsExt;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::config::{Config, Machine, Secret};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW_S: u64 = 1_000_000;

fn expected() -> Expected {
    Expected { issuer: Some("https://id.example".into()), audience: Some("frontrow".into()), leeway_s: 10 }
}

fn good() -> Value {
    json!({"sub": "7", "exp": NOW_S + 60, "iss": "https://id.example", "aud": ["other", "frontrow"]})
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = good();
    claims[key] = value;
    claims
}

fn without(key: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(key);
    claims
}

fn signed(claims: &Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

#[test]
fn claims_are_each_checked() {
    let verifier = Verifier::hs256(SECRET, expected());
    let ok = Ok(Identity { user: 7, expires_s: NOW_S + 60 });
    let table: Vec<(&str, Value, Result<Identity, IdentityError>)> = vec![
        ("all is well", good(), ok.clone()),
        ("one audience", with("aud", json!("frontrow")), ok.clone()),
        ("valid since long ago", with("nbf", json!(1)), ok.clone()),
        ("valid soon, inside the leeway", with("nbf", json!(NOW_S + 10)), ok),
        (
            "largest user",
            with("sub", json!("18446744073709551615")),
            Ok(Identity { user: u64::MAX, expires_s: NOW_S + 60 }),
        ),
        (
            "ended, inside the leeway",
            with("exp", json!(NOW_S - 9)),
            Ok(Identity { user: 7, expires_s: NOW_S - 9 }),
        ),
        (
            "a fraction of a second",
            with("exp", json!(1_000_060.5)),
            Ok(Identity { user: 7, expires_s: NOW_S + 60 }),
        ),
        ("ended", with("exp", json!(NOW_S - 10)), Err(IdentityError::Expired { ago_s: 10 })),
        ("ended long ago", with("exp", json!(0)), Err(IdentityError::Expired { ago_s: NOW_S })),
        ("never ends", without("exp"), Err(IdentityError::NoExpiry)),
        ("end is a text", with("exp", json!("tomorrow")), Err(IdentityError::NotTime { claim: "exp" })),
        ("end is negative", with("exp", json!(-1)), Err(IdentityError::NotTime { claim: "exp" })),
        ("not yet", with("nbf", json!(NOW_S + 11)), Err(IdentityError::NotYet { in_s: 11 })),
        ("begin is a list", with("nbf", json!([])), Err(IdentityError::NotTime { claim: "nbf" })),
        (
            "other issuer",
            with("iss", json!("x")),
            Err(IdentityError::WrongIssuer { expected: "https://id.example".into() }),
        ),
        (
            "no issuer",
            without("iss"),
            Err(IdentityError::WrongIssuer { expected: "https://id.example".into() }),
        ),
        (
            "other audience",
            with("aud", json!(["x"])),
            Err(IdentityError::WrongAudience { expected: "frontrow".into() }),
        ),
        ("no audience", without("aud"), Err(IdentityError::WrongAudience { expected: "frontrow".into() })),
        ("no subject", without("sub"), Err(IdentityError::SubjectNotNumber)),
        ("a name", with("sub", json!("alice")), Err(IdentityError::SubjectNotNumber)),
        ("a bare number", with("sub", json!(7)), Err(IdentityError::SubjectNotNumber)),
        ("too large", with("sub", json!("18446744073709551616")), Err(IdentityError::SubjectNotNumber)),
        ("a sign", with("sub", json!("+7")), Err(IdentityError::SubjectNotNumber)),
        ("a leading zero", with("sub", json!("07")), Err(IdentityError::SubjectNotNumber)),
    ];
    for (name, claims, want) in table {
        assert_eq!(verifier.verify(&signed(&claims), NOW_S), want, "{name}");
    }
}

#[test]
fn other_algorithms_keys_and_shapes_are_refused() {
    let verifier = Verifier::hs256(SECRET, expected());
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let body = part(&good());
    let none = format!("{}.{body}.", part(&json!({"alg": "none"})));
    let eddsa = format!("{}.{body}.AAAA", part(&json!({"alg": "EdDSA"})));
    let sign = |algorithm, key: &[u8]| {
        jsonwebtoken::encode(&Header::new(algorithm), &good(), &EncodingKey::from_secret(key)).unwrap()
    };
    let hs512 = sign(Algorithm::HS512, SECRET);
    let forged = sign(Algorithm::HS256, b"another secret, just as long as it");
    let mut changed = signed(&good());
    changed.replace_range(60..61, if &changed[60..61] == "A" { "B" } else { "A" });
    let wrong = |found: &str| IdentityError::WrongAlgorithm { found: found.into(), expected: "HS256" };
    let table = [
        (none, wrong("none")),
        (eddsa, wrong("EdDSA")),
        (hs512, wrong("HS512")),
        (forged, IdentityError::BadSignature),
        (format!("{}x", signed(&good())), IdentityError::BadSignature),
        (String::new(), IdentityError::Malformed),
        ("a.b.c".into(), IdentityError::Malformed),
        ("é.é.é".into(), IdentityError::Malformed),
        ("x".repeat(TOKEN_BYTES_MAX + 1), IdentityError::TooLong { bytes: TOKEN_BYTES_MAX + 1 }),
    ];
    for (token, want) in table {
        assert_eq!(verifier.verify(&token, NOW_S).unwrap_err(), want, "{token}");
    }
    let error = verifier.verify(&changed, NOW_S).unwrap_err();
    assert!(matches!(error, IdentityError::BadSignature | IdentityError::Malformed), "{error:?}");
}

/// The key pair of RFC 8032, section 7.1, test 1.
const ED_PRIVATE: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44,
    0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];
const ED_PUBLIC: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e,
    0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];

fn ed_public_pem() -> String {
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend(ED_PUBLIC);
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

#[test]
fn ed25519_tokens_are_believed_and_the_public_key_is_no_secret() {
    let verifier = Verifier::eddsa(&ed_public_pem(), expected()).unwrap();
    let mut der =
        vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    der.extend(ED_PRIVATE);
    let key = EncodingKey::from_ed_der(&der);
    let token = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &good(), &key).unwrap();
    assert_eq!(verifier.verify(&token, NOW_S), Ok(Identity { user: 7, expires_s: NOW_S + 60 }));
    // The classic confusion: HS256 with the public key as its secret.
    for secret in [ed_public_pem().as_bytes(), &ED_PUBLIC] {
        let confused =
            jsonwebtoken::encode(&Header::default(), &good(), &EncodingKey::from_secret(secret)).unwrap();
        let want = IdentityError::WrongAlgorithm { found: "HS256".into(), expected: "EdDSA" };
        assert_eq!(verifier.verify(&confused, NOW_S), Err(want));
    }
    for bad in [
        "",
        "x",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        &ed_public_pem().replace("PUBLIC", "PRIVATE"),
    ] {
        assert!(!is_ed25519_public_pem(bad), "{bad}");
    }
}

fn dev_config(data: &std::path::Path) -> Config {
    let env = vec![("FRONTROW_SERVER__DATA".to_owned(), data.display().to_string())];
    crate::config::read(None, env, &Machine { cpus: vec![0], open_files: None, memory: None })
        .into_result()
        .unwrap()
}

#[test]
fn a_development_server_keeps_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let config = dev_config(&folder.path().join("new/data"));
    let first = Keys::open(&config).unwrap();
    let token = first.minter.unwrap().mint(42, NOW_S, 60);
    let second = Keys::open(&config).unwrap();
    assert_eq!(second.verifier.verify(&token, NOW_S), Ok(Identity { user: 42, expires_s: NOW_S + 60 }));
    let path = second.admin_key_file.unwrap();
    let key = std::fs::read(&path).unwrap();
    assert!(first.admin.matches(&key) && second.admin.matches(&key));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Keys::open(&config), Err(KeysError::Exposed { .. })));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    for damage in ["", "short", &"z".repeat(64), &"a".repeat(65), &"a".repeat(10_000)] {
        std::fs::write(&path, damage).unwrap();
        assert!(matches!(Keys::open(&config), Err(KeysError::Damaged { .. })), "{damage}");
    }
}

#[test]
fn admin_keys_match_only_themselves() {
    let key = AdminKey::new(Secret::new(b"open sesame".to_vec()));
    assert!(key.matches(b"open sesame"));
    for wrong in ["", "open", "open sesame!", "open sesamE", "Open sesame"] {
        assert!(!key.matches(wrong.as_bytes()), "{wrong}");
    }
}
