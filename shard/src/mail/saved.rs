//! The post in a snapshot. A letter stands in it as the log's record of its delivery, so that there is one form.

use super::{Letter, Post};
use crate::answer::{Answer, Code};
use crate::effects::Effects;
use crate::ids::PartitionId;
use crate::op::Op;
use crate::record::{Decoded, Encoder, decode, kind};
use crate::snapshot::{HIGHEST, Reader, SnapshotError, Writer};

impl Post {
    pub(crate) fn save(&self, own: PartitionId, out: &mut Writer<'_>) {
        for count in self.sent.iter().chain(&self.received) {
            out.u64(*count);
        }
        out.u32(self.unconfirmed.len() as u32);
        let mut encoder = Encoder::default();
        let nothing = Answer::plain(Code::Done);
        for letter in &self.unconfirmed {
            let op = Op::Deliver { from: own, seq: letter.seq, mail: letter.mail };
            let (_, record) = encoder.encode(&op, &nothing, &Effects::default());
            out.u16(letter.to);
            out.u16(record.len() as u16);
            out.bytes(record);
        }
    }

    pub(crate) fn load(
        input: &mut Reader<'_>,
        own: PartitionId,
        partitions: u16,
    ) -> Result<Self, SnapshotError> {
        let mut post = Self::new(partitions);
        for count in post.sent.iter_mut().chain(&mut post.received) {
            *count = input.u64()?;
            input.check(*count < HIGHEST, "a count out of all bounds")?;
        }
        let count = input.count(4)?;
        // What is left to confirm ends with the last letter sent, without gaps; before the first it is unknown.
        let mut last: Vec<Option<u64>> = vec![None; usize::from(partitions)];
        for _ in 0..count {
            let (to, length) = (input.u16()?, input.u16()?);
            let record = input.take(usize::from(length))?;
            let Ok(Decoded { op: Op::Deliver { from, seq, mail }, .. }) = decode(kind::DELIVER, record)
            else {
                return Err(input.inconsistent("a letter that cannot be read"));
            };
            input.check(from == own && seq > 0, "a letter of another sender")?;
            let Some(last) = last.get_mut(usize::from(to)) else {
                return Err(input.inconsistent("a letter to a partition that is not there"));
            };
            input.check(last.is_none_or(|last| seq == last + 1), "letters out of order")?;
            *last = Some(seq);
            post.unconfirmed.push_back(Letter { to, seq, mail });
        }
        let complete = last.iter().zip(&post.sent).all(|(last, sent)| last.is_none_or(|last| last == *sent));
        input.check(complete, "letters are missing")?;
        Ok(post)
    }
}
