//! The server that commands talk to, and who they talk as.

use crate::args::Common;
use crate::failure::{Failure, UnderWay};
use crate::places::{self, Labels};
use crate::show::Out;
use frontrow_client::http::EventDetail;
use frontrow_client::{Client, Endpoint, EventId, Http, Options, RowRef};
use frontrow_server::identity::ADMIN_KEY_FILE;
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// How long an answer may take that only says how things are.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long one of several addresses may take to welcome a client, and be silent before it is asked whether it is there: the next
/// is tried then.
const WELCOME: Duration = Duration::from_secs(3);

/// See the module. Nothing is connected before it is needed.
pub(crate) struct Session {
    pub(crate) http: Http,
    pub(crate) common: Common,
    /// How far it is with what it is to change.
    pub(crate) under_way: Cell<UnderWay>,
    /// What was said last of what is waited for.
    pub(crate) said: RefCell<String>,
}

/// A place with its labels.
pub(crate) struct Located {
    pub(crate) place: RowRef,
    pub(crate) labels: Labels,
}

impl Session {
    pub(crate) fn new(common: Common) -> Result<Self, Failure> {
        let http = Http::new(&common.server)?.with_patience(PATIENCE);
        Ok(Self { http, common, under_way: Cell::new(UnderWay::Nothing), said: RefCell::default() })
    }

    /// How to print.
    pub(crate) fn out(&self) -> Out {
        Out { json: self.common.json }
    }

    /// A connection with the token given, or one from the server's development mode.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        self.connect_with(Options::default().retrying()).await
    }

    /// The same for looking only: a standby's view will do, if it is the one address that was given.
    pub(crate) async fn connect_to_look(&self) -> Result<Client, Failure> {
        let standby = !self.common.tcp.as_ref().unwrap_or(&self.common.server).contains(',');
        self.connect_with(Options { standby, ..Options::default() }.retrying()).await
    }

    /// The token given, or one from the server's development mode.
    pub(crate) async fn token(&self) -> Result<String, Failure> {
        Ok(match &self.common.token {
            Some(token) => token.clone(),
            None => self.ask(self.http.dev_token(self.common.user())).await?.token,
        })
    }

    async fn connect_with(&self, options: Options) -> Result<Client, Failure> {
        let token = self.token().await?;
        let endpoints: Vec<Endpoint> = match &self.common.tcp {
            Some(all) => all.split(',').map(|address| Endpoint::Tcp(address.trim().to_owned())).collect(),
            None => self.servers().iter().map(|url| Endpoint::of_http(url)).collect(),
        };
        let options = if endpoints.len() > 1 {
            Options { connect_timeout: WELCOME, keepalive: WELCOME, ..options }
        } else {
            options
        };
        Ok(self.patiently(None, Client::connect_to(endpoints, token, options)).await?)
    }

    /// The servers, the one that answered last before the others.
    fn servers(&self) -> Vec<String> {
        let mut all: Vec<String> = self.http.each().map(|(url, _)| url).collect();
        let last = self.http.answered_by().and_then(|(last, _)| all.iter().position(|url| *url == last));
        all.rotate_left(last.unwrap_or(0));
        all
    }

    /// HTTP with the operator's key: given, or left by a development server in its data directory.
    pub(crate) fn operator(&self) -> Result<Http, Failure> {
        let key = if let Some(key) = &self.common.admin_key {
            key.clone()
        } else {
            let path = self.common.data.join(ADMIN_KEY_FILE);
            let key = std::fs::read_to_string(&path).map_err(|error| {
                    Failure::Usage(format!(
                        "no operator's key: {} cannot be read ({error}); give --admin-key, or --data with the server's \
                         data directory",
                        path.display()
                    ))
                })?;
            key.trim().to_owned()
        };
        Ok(self.http.clone().with_admin_key(key))
    }

    /// The event that somebody means: by its number, or words of its name that no other has.
    pub(crate) async fn event(&self, wanted: &str) -> Result<EventId, Failure> {
        if let Ok(event) = wanted.parse() {
            return Ok(event);
        }
        let found = self.ask(self.http.events(wanted)).await?;
        match &found[..] {
            [one] => Ok(one.event),
            [] => {
                let command = self.common.command();
                Err(Failure::Usage(format!("no event's name has `{wanted}`; `{command} events` lists them")))
            }
            several => {
                let names = several.iter().take(8).map(|it| format!("{} ({})", it.event, it.name));
                let names: Vec<String> = names.collect();
                Err(Failure::Usage(format!("`{wanted}` may be {}; give the number", names.join(", "))))
            }
        }
    }

    pub(crate) async fn event_detail(&self, wanted: &str) -> Result<EventDetail, Failure> {
        let event = self.event(wanted).await?;
        self.ask(self.http.event(event)).await
    }

    /// A section, or a row of it, by what people call them.
    pub(crate) async fn locate(
        &self,
        event: &str,
        section: &str,
        row: Option<&str>,
    ) -> Result<Located, Failure> {
        let detail = self.event_detail(event).await?;
        let index = self.common.place;
        let section = places::section(&detail.section_list, section, index).map_err(Failure::Usage)?;
        let event = detail.event.event;
        let labels = Labels::new(self.ask(self.http.section_map(event, section)).await?);
        let row = match row {
            Some(row) => places::row(&labels, row, index).map_err(Failure::Usage)?.row,
            None => RowRef::SECTION,
        };
        Ok(Located { place: RowRef::new(event, section, row), labels })
    }

    /// The labels of a place that a token names; indexes if the map cannot be had.
    pub(crate) async fn labels(&self, place: RowRef) -> Labels {
        let map = self.ask(self.http.section_map(place.event, place.section)).await;
        map.map_or_else(|_| Labels::unknown(place.section), Labels::new)
    }
}

impl Located {
    /// The places of seats that somebody means by their numbers.
    pub(crate) fn seats(&self, wanted: &str, index: bool) -> Result<Vec<u8>, Failure> {
        let row = self.labels.rows().iter().find(|it| it.row == self.place.row);
        let row = row.ok_or_else(|| Failure::Usage("seats are named in a row: give the row too".into()))?;
        places::seats(row, wanted, index).map_err(Failure::Usage)
    }

    /// `Block B, row 3` or `Block B`.
    pub(crate) fn name(&self) -> String {
        let section = self.labels.section();
        if self.place.is_section() {
            section.to_owned()
        } else {
            format!("{section}, row {}", self.labels.row(self.place.row))
        }
    }
}
