//! Making the topics, how many partitions they have, and whether they are still the same.

use crate::context::Context;
use crate::native;
use crate::settings::{Settings, Topics};
use frontrow_cdc::SinkError;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::types::RDKafkaRespErr;
use std::time::Duration;

/// For one answer.
const ANSWER: Duration = Duration::from_secs(1);
/// Answers that may be waited for.
const ANSWERS: usize = 10;
/// Between two looks at a topic that is being made.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: usize = 250;
/// For what Kafka says of one topic.
const DESCRIBED: Duration = Duration::from_secs(5);

/// How many partitions each has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partitions {
    pub(crate) changes: u32,
    pub(crate) bookings: u32,
    pub(crate) positions: u32,
}

/// Partitions of a topic; none if there is no such topic, or not yet everywhere. `reports` lets the client say what it
/// has to say to `context`.
pub(crate) fn count<C: ClientContext>(
    (client, context): (&Client<C>, &Context),
    reports: &dyn Fn(),
    topic: &str,
    settings: &Settings,
) -> Result<Option<u32>, SinkError> {
    count_within((client, context), reports, (topic, ANSWERS), settings)
}

/// The same, within so many answers that may be waited for.
pub(crate) fn count_within<C: ClientContext>(
    (client, context): (&Client<C>, &Context),
    reports: &dyn Fn(),
    (topic, answers): (&str, usize),
    settings: &Settings,
) -> Result<Option<u32>, SinkError> {
    let mut why = String::new();
    for _ in 0..answers {
        match client.fetch_metadata(Some(topic), ANSWER) {
            Ok(metadata) => {
                let Some(found) = metadata.topics().iter().find(|it| it.name() == topic) else {
                    return Ok(None);
                };
                if let Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) = found.error() {
                    let why = format!("there is no right to see {topic}, or no such topic");
                    return Err(SinkError::Refused(settings.refused(why)));
                }
                let all_lead = found.partitions().iter().all(|it| it.leader() >= 0);
                let is_there = found.error().is_none() && all_lead && !found.partitions().is_empty();
                return Ok(is_there.then(|| found.partitions().len() as u32));
            }
            Err(KafkaError::MetadataFetch(
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
            )) => return Ok(None),
            Err(error) => {
                reports();
                why = context.why(error);
            }
        }
        if context.is_down() {
            break;
        }
    }
    Err(if context.is_refused() {
        SinkError::Refused(settings.refused(why))
    } else {
        SinkError::Away(settings.away(why))
    })
}

/// Makes the topics that are not there.
pub(crate) fn ready(producer: &BaseProducer<Context>, settings: &Settings) -> Result<Partitions, SinkError> {
    let names = settings.topics();
    let topics = [&names.changes, &names.bookings, &names.positions];
    let counts = || -> Result<_, SinkError> {
        let mut counts = [None; 3];
        for (count, topic) in counts.iter_mut().zip(topics) {
            *count = self::count(
                (producer.client(), producer.context()),
                &|| producer.poll(LOOK),
                topic,
                settings,
            )?;
        }
        Ok(counts)
    };
    let mut found = counts()?;
    if found.contains(&None) {
        make(settings)?;
    }
    for _ in 0..LOOKS {
        if let [Some(changes), Some(bookings), Some(positions)] = found {
            return Ok(Partitions { changes, bookings, positions });
        }
        producer.poll(LOOK);
        found = counts()?;
    }
    Err(SinkError::Away(settings.away(format!("the topics {}.* have no leader yet", settings.prefix))))
}

/// Kafka's ids of the topics: one that is deleted and made anew has another. None where it gives none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identities {
    pub(crate) changes: Option<String>,
    pub(crate) bookings: Option<String>,
    pub(crate) positions: Option<String>,
}

impl Identities {
    /// What they are now; a topic that is not described, and why.
    pub(crate) fn of<C: ClientContext>(
        client: &Client<C>,
        names: &Topics,
    ) -> Result<Self, (String, RDKafkaErrorCode)> {
        let id =
            |topic: &String| native::topic_id(client, topic, DESCRIBED).map_err(|code| (topic.clone(), code));
        Ok(Self {
            changes: id(&names.changes)?,
            bookings: id(&names.bookings)?,
            positions: id(&names.positions)?,
        })
    }

    /// Those that are others now, by their names.
    pub(crate) fn replaced<'a>(&self, now: &Self, names: &'a Topics) -> Vec<&'a str> {
        let differ = |was: &Option<String>, is: &Option<String>| {
            was.as_ref().zip(is.as_ref()).is_some_and(|(was, is)| was != is)
        };
        let each = [
            (&names.changes, differ(&self.changes, &now.changes)),
            (&names.bookings, differ(&self.bookings, &now.bookings)),
            (&names.positions, differ(&self.positions, &now.positions)),
        ];
        each.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.as_str()).collect()
    }
}

/// Whether anything was ever written into a topic of so many partitions.
pub(crate) fn holds_something<C: ClientContext>(
    client: &Client<C>,
    (topic, partitions): (&str, u32),
    settings: &Settings,
) -> Result<bool, SinkError> {
    for partition in 0..partitions.cast_signed() {
        let (_, high) = client
            .fetch_watermarks(topic, partition, DESCRIBED)
            .map_err(|error| SinkError::Away(settings.away(format!("the end of {topic}: {error}"))))?;
        if high > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Asks for all of them: those that are there stay as they are.
fn make(settings: &Settings) -> Result<(), SinkError> {
    let away = |why: String| SinkError::Away(settings.away(why));
    let names = settings.topics();
    let replication = || TopicReplication::Fixed(i32::from(settings.replication));
    let many = |name| NewTopic::new(name, i32::from(settings.partitions), replication());
    // Read as a whole at every start, so it is kept short.
    let compacted = NewTopic::new(&names.positions, 1, replication())
        .set("cleanup.policy", "compact")
        .set("segment.bytes", "16777216")
        .set("min.cleanable.dirty.ratio", "0.1");
    let wanted = [many(&names.changes), many(&names.bookings), many(&names.dead), compacted];
    let admin: AdminClient<Context> = settings
        .admin()
        .create_with_context(Context::default())
        .map_err(|error| SinkError::Unfit(format!("kafka.settings: {error}")))?;
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(10)));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| away(error.to_string()))?;
    let made =
        runtime.block_on(admin.create_topics(&wanted, &options)).map_err(|error| away(error.to_string()))?;
    for one in made {
        match one {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code @ RDKafkaErrorCode::InvalidReplicationFactor)) => {
                let why = format!(
                    "{topic} cannot be made: {code}; set kafka.replication to at most as many as Kafka has nodes"
                );
                return Err(away(why));
            }
            Err((topic, code)) => return Err(away(format!("{topic} cannot be made: {code}"))),
        }
    }
    Ok(())
}
