use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that answers one request with `answer`, and gives what it was asked.
async fn once(status: &str, body: &str) -> (Http, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = Http::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let asked = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") && !asked.ends_with(b"}") {
            assert!(socket.read_buf(&mut asked).await.unwrap() > 0);
        }
        socket.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked).unwrap()
    });
    (http, asked)
}

#[tokio::test]
async fn what_the_server_says_is_read() {
    let body = r#"{"events":[{"event":3,"name":"N","plan":"P","state":"open","created_ms":1,"seats":2,"sections":1,"new":0}]}"#;
    let (http, asked) = once("200 OK", body).await;
    let events = http.with_admin_key("secret").events("a b&c").await.unwrap();
    assert_eq!((events[0].event, &*events[0].state), (3, "open"));
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("GET /v1/events?q=a%20b%26c HTTP/1.1\r\n"), "{asked}");
    assert!(!asked.contains("secret"), "the key goes where it is needed only: {asked}");
}

#[tokio::test]
async fn metrics_are_text() {
    let (http, asked) = once("200 OK", "frontrow_connections 7\n# EOF\n").await;
    assert_eq!(http.metrics().await.unwrap(), "frontrow_connections 7\n# EOF\n");
    assert!(asked.await.unwrap().starts_with("GET /metrics HTTP/1.1\r\n"));
}

#[tokio::test]
async fn operators_show_their_key_and_rules_are_passed_on() {
    let (http, asked) = once("500 Oops", "not json").await;
    let query = EventQuery { name: Some("A & B".into()), rules: vec![("hold_ms", "60000".into())] };
    let error = http.with_admin_key("secret").create_stadium(&query, 100, Some(2)).await.unwrap_err();
    assert!(
        matches!(&error, HttpError::Refused { status: 500, code, retryable: true, .. } if code == "http_500")
    );
    let asked = asked.await.unwrap();
    assert!(
        asked.starts_with("POST /v1/admin/events?name=A%20%26%20B&hold_ms=60000 HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(asked.contains("authorization: Bearer secret\r\n"), "{asked}");
    assert!(asked.ends_with(r#"{"stadium":{"seats":100,"tiers":2}}"#), "{asked}");
}

#[tokio::test]
async fn who_takes_a_connection_and_says_nothing_is_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = Http::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let http = http.with_patience(Duration::from_millis(20));
    let error = http.node().await.unwrap_err();
    assert!(matches!(error, HttpError::Silent { .. }) && error.is_open());
    assert!(error.to_string().contains("takes connections and does not answer"), "{error}");
    assert!(http.takes_connections().await);
    drop(listener);
    let error = http.node().await.unwrap_err();
    assert!(matches!(error, HttpError::Unreachable { .. }) && !error.is_open(), "{error}");
    assert!(!http.takes_connections().await);
}

#[tokio::test]
async fn refusals_and_nonsense_are_typed() {
    let body =
        r#"{"error":{"code":"unknown_event","message":"there is no event 9; list","retryable":false}}"#;
    let (http, _asked) = once("404 Not Found", body).await;
    let error = http.event(9).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no event 9; list");
    assert!(matches!(error, HttpError::Refused { status: 404, retryable: false, .. }));

    let (http, _asked) = once("200 OK", "{}").await;
    assert!(matches!(http.event(9).await, Err(HttpError::Answer(_))));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = Http::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    assert!(matches!(http.event(9).await, Err(HttpError::Unreachable { .. })));
    for wrong in ["127.0.0.1:1", "https://x", "http://", "http://a b"] {
        assert_eq!(Http::new(wrong).unwrap_err(), HttpError::Address(wrong.into()));
    }
}
