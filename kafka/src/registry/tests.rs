use super::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

/// What was asked: the first line, the header that says who asks, and the body.
type Asked = (String, Option<String>, String);

/// Gives these answers, one a connection, and tells what it was asked.
fn answering(answers: Vec<(u16, &'static str)>) -> (String, JoinHandle<Vec<Asked>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let serve = move |(status, body): (u16, &str)| {
        let (mut socket, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        let (mut first, mut login, mut length) = (String::new(), None, 0);
        reader.read_line(&mut first).unwrap();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            match &*name.to_ascii_lowercase() {
                "authorization" => login = Some(value.to_owned()),
                "content-length" => length = value.parse().unwrap(),
                _ => {}
            }
        }
        let mut asked = vec![0; length];
        reader.read_exact(&mut asked).unwrap();
        let head =
            format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        socket.write_all(format!("{head}{body}").as_bytes()).unwrap();
        (first.trim().to_owned(), login, String::from_utf8(asked).unwrap())
    };
    (at, std::thread::spawn(move || answers.into_iter().map(serve).collect()))
}

fn at(authority: &str) -> Registry {
    Registry::parse(&format!("http://{authority}")).unwrap()
}

#[test]
fn a_schema_is_looked_up_and_registered_if_it_is_not_there() {
    let missing = (404, r#"{"error_code":40401,"message":"no subject"}"#);
    let (authority, asked) = answering(vec![missing, (200, r#"{"id":7}"#), (200, r#"{"id":7,"version":1}"#)]);
    let registry = Registry::parse(&format!("http://me:a%40b%3A@{authority}/apis/v7/")).unwrap();
    assert_eq!(registry.register("a-value", "\"int\""), Ok(7));
    assert_eq!(registry.register("a-value", "\"int\""), Ok(7));
    let asked = asked.join().unwrap();
    let lines: Vec<&str> = asked.iter().map(|(line, ..)| line.as_str()).collect();
    let look = "POST /apis/v7/subjects/a-value HTTP/1.1";
    assert_eq!(lines, [look, "POST /apis/v7/subjects/a-value/versions HTTP/1.1", look]);
    let (_, login, body) = &asked[1];
    // `printf 'me:a@b:' | base64`
    assert_eq!(login.as_deref(), Some("Basic bWU6YUBiOg=="));
    assert_eq!(body, r#"{"schema":"\"int\""}"#);
    assert!(!format!("{registry} {registry:?}").contains("me"), "who asks is not shown");
}

#[test]
fn a_schema_is_found_by_its_id_or_there_is_none() {
    let none = (404, r#"{"error_code":40403,"message":"Schema not found"}"#);
    let (authority, asked) = answering(vec![(200, r#"{"schema":"\"int\""}"#), none]);
    assert_eq!(at(&authority).schema(9), Ok(Some("\"int\"".to_owned())));
    assert_eq!(at(&authority).schema(10), Ok(None));
    let asked = asked.join().unwrap();
    assert_eq!((&*asked[0].0, &asked[0].1), ("GET /schemas/ids/9 HTTP/1.1", &None));
}

#[test]
fn each_refusal_is_told_apart_and_says_what_to_do() {
    const MISSING: (u16, &str) = (404, r#"{"error_code":40401,"message":"no subject"}"#);
    const CASES: [(&[(u16, &str)], &str); 9] = [
        (&[MISSING, (409, r#"{"error_code":409,"message":"reader lost field x"}"#)], "delete that subject"),
        (
            &[MISSING, (403, r#"{"error_code":40301,"message":"no"}"#)],
            "register what `frontrow schema` prints",
        ),
        (&[(401, "")], "http://user:password@host:port"),
        (&[MISSING, (422, r#"{"error_code":42201,"message":"invalid schema"}"#)], "422 invalid schema"),
        (&[(503, "starting")], "503 starting; start it"),
        (&[(404, "<html>not found</html>")], "/apis/ccompat/v7"),
        (&[(200, "<html>hello</html>")], "does not answer as a schema registry"),
        (&[(200, r#"{"id":-1}"#)], "does not answer as a schema registry"),
        (&[MISSING, MISSING], "no subject"),
    ];
    for (answers, word) in CASES {
        let (authority, asked) = answering(answers.to_vec());
        let error = at(&authority).register("a-value", "\"int\"").unwrap_err();
        asked.join().unwrap();
        assert!(error.to_string().contains(word) && error.to_string().contains(&authority), "{error}");
        let is_incompatible = matches!(&error, RegistryError::Incompatible { subject, why, .. } if subject == "a-value" && why.contains("reader lost field x"));
        assert_eq!(is_incompatible, word == "delete that subject", "{error:?}");
    }
}

#[test]
fn one_that_is_not_there_is_away() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let error = at(&nobody).register("a-value", "\"int\"").unwrap_err();
    assert!(matches!(&error, RegistryError::Away { .. }), "{error:?}");
    assert!(
        error.to_string().contains("set kafka.registry") && error.to_string().contains("refused"),
        "{error}"
    );
}

#[test]
fn an_address_is_one_or_says_how_to_write_it() {
    let shown = |text| Registry::parse(text).map(|it| it.to_string());
    assert_eq!(shown("http://registry").as_deref(), Ok("http://registry:80"));
    assert_eq!(shown("http://u:p@[::1]:8081/").as_deref(), Ok("http://[::1]:8081"));
    assert_eq!(shown("http://[::1]").as_deref(), Ok("http://[::1]:80"));
    assert_eq!(shown("http://r:8080/apis/ccompat/v7").as_deref(), Ok("http://r:8080/apis/ccompat/v7"));
    assert_eq!(shown("https://registry:8081"), Err(BadRegistry::Tls));
    for wrong in [
        "",
        "registry:8081",
        "http://",
        "http://:8081",
        "http://r:port",
        "http://r:0",
        "http://a b",
        "http://r/?x",
    ] {
        assert_eq!(shown(wrong), Err(BadRegistry::Address), "{wrong}");
    }
    for wrong in ["http://user@r:1", "http://u:%ff@r:1", "http://u:a%0ab@r:1"] {
        assert_eq!(shown(wrong), Err(BadRegistry::Address), "{wrong}");
    }
}
