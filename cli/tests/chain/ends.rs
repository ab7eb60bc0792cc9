//! The bookings service at its beginning and its end, whatever is there or is not.

use crate::HALL;
use crate::common::{Server, within};
use crate::links::{Link, Links, Service};
use crate::stale::buy;
use crate::table;
use frontrow_client::Http;
use frontrow_services::kafka::Kafka;
use frontrow_services::postgres::Postgres;
use std::time::Duration;

/// Two programs on one development machine share a data directory, whoever comes first.
pub(crate) fn the_service_comes_first() {
    within(60, async {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = [
            ("FRONTROW_SERVER__CORES", "1"),
            ("FRONTROW_KAFKA__BROKERS", "127.0.0.1:1"),
            ("FRONTROW_SERVICE__POSTGRES", "postgres://nobody@127.0.0.1:1/none"),
            ("FRONTROW_SERVICE__HTTP", "127.0.0.1:0"),
            ("FRONTROW_LOG_OUTPUT__LEVEL", "off"),
        ];
        let service = Service::start(&folder.path().join("data"), &settings);
        let token = Http::new(&service.url).expect("an address").dev_token(7).await.expect("a token").token;
        let server = Server::start(folder.path(), &settings[..1]);
        let http = server.http().as_user(token);
        while http.own_bookings(None, None).await.is_err() {
            tokio::task::yield_now().await;
        }
        server.operator(folder.path()).bookings(HALL, None, 0).await.expect("the same keys");
    });
}

/// PostgreSQL takes the connection and then says nothing, which a consumer bears for half a minute.
pub(crate) fn the_service_ends_in_time(kafka: Kafka, postgres: Postgres) {
    within(120, async {
        let mut links = Links::start(kafka, postgres);
        let client = links.server().client(1).await;
        buy(&client, 0, 3).await;
        table::alike(&links, HALL).await;
        links.kill(Link::Service);
        links.postgres.pause().expect("it runs");
        links.start_again(Link::Service);
        let ended = tokio::time::timeout(Duration::from_secs(15), links.terminate_service()).await;
        links.postgres.resume().expect("it is there");
        assert!(ended.expect("it does not wait for PostgreSQL").success());
        buy(&client, 0, 3).await;
        links.start_again(Link::Service);
        table::alike(&links, HALL).await;
    });
}
