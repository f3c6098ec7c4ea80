//! DNS messages: bytes in, values out. Section 4 of <https://www.rfc-editor.org/rfc/rfc1035>.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of a name with its root label: <https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4>.
const MAX_NAME_BYTES: usize = 255;

/// Bytes of a label.
const MAX_LABEL_BYTES: usize = 63;

/// Pointers in one name: there are no more labels to point at.
const MAX_POINTERS: usize = 128;

/// Addresses of one family that are taken.
const MAX_ADDRESSES: usize = 4;

/// Aliases that are followed within one answer.
const MAX_ALIASES: usize = 16;

/// <https://www.rfc-editor.org/rfc/rfc1035#section-3.2.2>; AAAA: <https://www.rfc-editor.org/rfc/rfc3596#section-2.1>.
const A: u16 = 1;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const AAAA: u16 = 28;

/// The class of the internet.
const IN: u16 = 1;

/// Bits of the head's second word: <https://www.rfc-editor.org/rfc/rfc1035#section-4.1.1>.
const RESPONSE: u16 = 1 << 15;
const OPCODE: u16 = 0xf << 11;
const TRUNCATED: u16 = 1 << 9;
const RECURSION_DESIRED: u16 = 1 << 8;
const STATUS: u16 = 0xf;

/// Values of [`STATUS`].
const NO_ERROR: u16 = 0;
const NO_SUCH_NAME: u16 = 3;

/// A domain name as it is in a message: labels with their lengths, the root label last; in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(Vec<u8>);

impl Name {
    /// `None` for what no message can carry: an empty label, or too many bytes.
    pub(super) fn new(text: &str) -> Option<Name> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.split('.') {
            wire.push(u8::try_from(label.len()).ok().filter(|len| (1..=MAX_LABEL_BYTES).contains(&usize::from(*len)))?);
            wire.extend(label.bytes().map(|b| b.to_ascii_lowercase()));
        }
        wire.push(0);
        (wire.len() <= MAX_NAME_BYTES).then_some(Name(wire))
    }
}

/// The family of addresses that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    fn code(self) -> u16 {
        match self {
            Family::V4 => A,
            Family::V6 => AAAA,
        }
    }

    /// The address in the data of a record of [`Family::code`].
    fn address(self, data: &[u8]) -> Option<IpAddr> {
        match self {
            Family::V4 => <[u8; 4]>::try_from(data).ok().map(|b| Ipv4Addr::from(b).into()),
            Family::V6 => <[u8; 16]>::try_from(data).ok().map(|b| Ipv6Addr::from(b).into()),
        }
    }
}

/// One question, and what its answer must repeat.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) id: u16,
    pub(super) name: Name,
    pub(super) family: Family,
}

impl Question {
    /// The message that asks it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let head = [self.id, RECURSION_DESIRED, 1, 0, 0, 0];
        let mut message: Vec<u8> = head.iter().flat_map(|word| word.to_be_bytes()).collect();
        message.extend_from_slice(&self.name.0);
        message.extend_from_slice(&self.family.code().to_be_bytes());
        message.extend_from_slice(&IN.to_be_bytes());
        message
    }
}

/// What a server says to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// At least one address.
    Addresses(Vec<IpAddr>),
    /// The name is another name for this one, whose addresses the server did not look up.
    Alias(Name),
    /// There is no such name, or it has no address of this family.
    Nothing,
    /// The answer is too long for a datagram.
    Truncated,
    /// The server could or would not answer; why.
    Failed(String),
}

/// Reads an answer; `None` where the message is none to this question.
pub(super) fn decode(message: &[u8], question: &Question) -> Option<Answer> {
    let mut reader = Reader { message, at: 0 };
    let [id, flags, questions, answers, authorities, _] = reader.head()?;
    let answers_it = id == question.id
        && flags & (RESPONSE | OPCODE) == RESPONSE
        && questions == 1
        && reader.name()? == question.name
        && reader.u16()? == question.family.code()
        && reader.u16()? == IN;
    if !answers_it {
        return None;
    }
    if flags & TRUNCATED != 0 {
        return Some(Answer::Truncated);
    }
    Some(match flags & STATUS {
        NO_ERROR => {
            let found = reader.records(answers, authorities, question);
            found.unwrap_or_else(|| Answer::Failed("its answer is malformed".into()))
        }
        NO_SUCH_NAME => Answer::Nothing,
        status => Answer::Failed(explain(status)),
    })
}

/// The status by the name that name servers' logs give it: <https://www.iana.org/assignments/dns-parameters>.
fn explain(status: u16) -> String {
    match status {
        1 => "FORMERR".into(),
        2 => "SERVFAIL".into(),
        4 => "NOTIMP".into(),
        5 => "REFUSED".into(),
        _ => format!("status {status}"),
    }
}

/// Reads a message from its start; `None` wherever it is malformed.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

/// <https://www.rfc-editor.org/rfc/rfc1035#section-4.1.3>
struct Record<'a> {
    owner: Name,
    /// Type and class.
    kind: (u16, u16),
    data: &'a [u8],
    /// Where the data is: names in it may point elsewhere.
    data_at: usize,
}

impl<'a> Reader<'a> {
    fn head(&mut self) -> Option<[u16; 6]> {
        let mut words = [0; 6];
        for word in &mut words {
            *word = self.u16()?;
        }
        Some(words)
    }

    /// Both sections of records after the question, which share what they may say about it.
    fn records(&mut self, answers: u16, authorities: u16, question: &Question) -> Option<Answer> {
        let (mut addresses, mut aliases) = (Vec::new(), Vec::new());
        for _ in 0..answers {
            let record = self.record()?;
            if record.kind == (question.family.code(), IN) {
                addresses.push((record.owner, question.family.address(record.data)?));
            } else if record.kind == (CNAME, IN) {
                let target = Reader { message: self.message, at: record.data_at }.name()?;
                aliases.push((record.owner, target));
            }
        }
        let mut name = &question.name;
        for _ in 0..MAX_ALIASES {
            let own: Vec<IpAddr> = addresses.iter().filter(|(owner, _)| owner == name).map(|(_, ip)| *ip).collect();
            if !own.is_empty() {
                return Some(Answer::Addresses(own.into_iter().take(MAX_ADDRESSES).collect()));
            }
            let Some((_, target)) = aliases.iter().find(|(owner, _)| owner == name) else { break };
            name = target;
        }
        // https://www.rfc-editor.org/rfc/rfc2308#section-2.2: with an SOA record it is known that there is no address.
        for _ in 0..authorities {
            if self.record()?.kind == (SOA, IN) {
                return Some(Answer::Nothing);
            }
        }
        Some(if *name == question.name { Answer::Nothing } else { Answer::Alias(name.clone()) })
    }

    fn record(&mut self) -> Option<Record<'a>> {
        let owner = self.name()?;
        let kind = (self.u16()?, self.u16()?);
        self.bytes(4)?; // how long it may be kept
        let len = self.u16()?;
        let data_at = self.at;
        Some(Record { owner, kind, data: self.bytes(len.into())?, data_at })
    }

    /// A name, its pointers followed: <https://www.rfc-editor.org/rfc/rfc1035#section-4.1.4>.
    fn name(&mut self) -> Option<Name> {
        let mut wire = Vec::with_capacity(64);
        let mut elsewhere = Reader { message: self.message, at: self.at };
        let mut pointers = 0;
        loop {
            let len = elsewhere.u8()?;
            match len >> 6 {
                0 => {
                    wire.push(len);
                    wire.extend(elsewhere.bytes(len.into())?.iter().map(u8::to_ascii_lowercase));
                }
                3 => {
                    let target = usize::from(u16::from_be_bytes([len & 0x3f, elsewhere.u8()?]));
                    if pointers == 0 {
                        self.at = elsewhere.at;
                    }
                    pointers += 1;
                    elsewhere.at = target;
                }
                _ => return None,
            }
            if wire.len() > MAX_NAME_BYTES || pointers > MAX_POINTERS {
                return None;
            }
            if len == 0 {
                break;
            }
        }
        if pointers == 0 {
            self.at = elsewhere.at;
        }
        Some(Name(wire))
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|b| b[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let bytes = self.message.get(self.at..)?.get(..count)?;
        self.at += count;
        Some(bytes)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const HEAD_BYTES: usize = 12;

    /// A record by its owner, type and data.
    pub(in super::super) type Written<'a> = (&'a str, u16, Vec<u8>);

    pub(in super::super) fn name(text: &str) -> Vec<u8> {
        Name::new(text).unwrap().0
    }

    pub(in super::super) fn a(owner: &str, ip: [u8; 4]) -> Written<'_> {
        (owner, A, ip.to_vec())
    }

    pub(in super::super) fn cname<'a>(owner: &'a str, target: &str) -> Written<'a> {
        (owner, CNAME, name(target))
    }

    /// The answer to a query, whose id and question it repeats.
    pub(in super::super) fn reply(
        query: &[u8],
        flags: u16,
        answers: &[Written<'_>],
        authorities: &[Written<'_>],
    ) -> Vec<u8> {
        let mut message = query[..2].to_vec();
        for word in [RESPONSE | flags, 1, answers.len() as u16, authorities.len() as u16, 0] {
            message.extend(word.to_be_bytes());
        }
        message.extend(&query[HEAD_BYTES..]);
        for (owner, kind, data) in answers.iter().chain(authorities) {
            message.extend(name(owner));
            for word in [*kind, IN, 0, 60, data.len() as u16] {
                message.extend(word.to_be_bytes());
            }
            message.extend(data);
        }
        message
    }

    fn question(text: &str, family: Family) -> Question {
        Question { id: 0x1234, name: Name::new(text).unwrap(), family }
    }

    fn answer(question: &Question, answers: &[Written<'_>], authorities: &[Written<'_>]) -> Option<Answer> {
        decode(&reply(&question.encode(), 0, answers, authorities), question)
    }

    fn addresses(texts: &[&str]) -> Option<Answer> {
        Some(Answer::Addresses(texts.iter().map(|text| text.parse().unwrap()).collect()))
    }

    /// `www.Example.com` is an alias of `cdn.example.com`, which has two addresses; names are compressed.
    const COMPRESSED: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x03\0\0\0\0\x03www\x07Example\x03com\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03cdn\xc0\x10\
        \xc0\x2d\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01\
        \xc0\x2d\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x02";

    #[test]
    fn a_query_as_it_goes_out() {
        let wire = question("Api.Example.com", Family::V6).encode();
        assert_eq!(wire, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03api\x07example\x03com\0\0\x1c\0\x01");
    }

    #[test]
    fn names_that_no_message_carries() {
        let long = "a".repeat(64);
        let many = ["abcdefg"; 32].join(".");
        for bad in ["", ".", "a..b", ".a", "a.", long.as_str(), many.as_str()] {
            assert_eq!(Name::new(bad), None, "{bad}");
        }
        assert!(Name::new(&long[1..]).is_some() && Name::new(&many[2..]).is_some() && Name::new("_a-b.c").is_some());
    }

    #[test]
    fn an_alias_leads_to_addresses_through_pointers() {
        let asked = question("www.example.com", Family::V4);
        assert_eq!(decode(COMPRESSED, &asked), addresses(&["192.0.2.1", "192.0.2.2"]));
    }

    #[test]
    fn an_answer_cut_anywhere_is_malformed_or_none() {
        let asked = question("www.example.com", Family::V4);
        for len in 0..COMPRESSED.len() {
            let read = decode(&COMPRESSED[..len], &asked);
            assert_eq!(read, (len >= 33).then(|| Answer::Failed("its answer is malformed".into())), "{len}");
        }
    }

    /// Whatever a byte is changed to: no panic, no hang, and no address from elsewhere than the data.
    #[test]
    fn no_byte_breaks_the_reader() {
        let asked = question("www.example.com", Family::V4);
        for at in 0..COMPRESSED.len() {
            for byte in 0..=255 {
                let mut message = COMPRESSED.to_vec();
                message[at] = byte;
                if let Some(Answer::Addresses(found)) = decode(&message, &asked) {
                    assert!(found.len() <= 2);
                }
            }
        }
    }

    #[test]
    fn pointers_that_lead_in_circles_end() {
        let asked = question("a.b", Family::V4);
        let start = asked.encode().len() as u8;
        for owner in
            [vec![0xc0, start], vec![1, b'x', 0xc0, start], vec![0xc0, start + 2, 0xc0, start], vec![0xff, 0xff]]
        {
            let mut message = reply(&asked.encode(), 0, &[], &[]);
            message[7] = 1;
            message.extend(owner);
            message.extend([0; 32]);
            assert_eq!(decode(&message, &asked), Some(Answer::Failed("its answer is malformed".into())));
        }
        let mut message = asked.encode();
        message[2] = 0x80;
        message.splice(HEAD_BYTES.., [0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(decode(&message, &asked), None);
    }

    #[test]
    fn what_answers_another_question_is_none() {
        let asked = question("a.example", Family::V4);
        let good = reply(&asked.encode(), 0, &[a("A.EXAMPLE", [192, 0, 2, 1])], &[]);
        assert_eq!(decode(&good, &asked), addresses(&["192.0.2.1"]));
        let with = |at: usize, byte: u8| {
            let mut message = good.clone();
            message[at] = byte;
            decode(&message, &asked)
        };
        for (at, byte) in [(0, 0), (1, 0), (2, 0), (2, 0x88), (5, 0), (5, 2), (13, b'b'), (24, 28), (26, 3)] {
            assert_eq!(with(at, byte), None, "{at}");
        }
        assert_eq!(decode(&asked.encode(), &asked), None, "its own query");
    }

    #[test]
    fn aliases_are_followed_in_any_order() {
        let asked = question("a", Family::V4);
        let chain = [a("c", [192, 0, 2, 3]), cname("b", "c"), a("other", [192, 0, 2, 9]), cname("a", "B")];
        assert_eq!(answer(&asked, &chain, &[]), addresses(&["192.0.2.3"]));
        assert_eq!(answer(&asked, &[cname("a", "b")], &[]), Some(Answer::Alias(Name::new("b").unwrap())));
        assert_eq!(answer(&asked, &[a("other", [192, 0, 2, 9])], &[]), Some(Answer::Nothing));
        let circle = [cname("a", "b"), cname("b", "a")];
        assert!(matches!(answer(&asked, &circle, &[]), Some(Answer::Alias(_) | Answer::Nothing)));
    }

    #[test]
    fn no_address_is_known_or_not() {
        let asked = question("a", Family::V6);
        let soa = ("example", SOA, vec![0; 22]);
        assert_eq!(answer(&asked, &[], &[]), Some(Answer::Nothing));
        assert_eq!(answer(&asked, &[cname("a", "b")], &[soa]), Some(Answer::Nothing));
        let read = |flags| decode(&reply(&asked.encode(), flags, &[], &[]), &asked);
        assert_eq!(read(NO_SUCH_NAME), Some(Answer::Nothing));
        assert_eq!(read(TRUNCATED), Some(Answer::Truncated));
        assert_eq!(read(2), Some(Answer::Failed("SERVFAIL".into())));
        assert_eq!(read(15), Some(Answer::Failed("status 15".into())));
    }

    #[test]
    fn addresses_have_their_length_and_their_limit() {
        let asked = question("a", Family::V6);
        let six = |last: u8| ("a", AAAA, [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[last]].concat());
        assert_eq!(answer(&asked, &[six(1), six(2)], &[]), addresses(&["2001:db8::1", "2001:db8::2"]));
        assert_eq!(
            answer(&asked, &[("a", AAAA, vec![1; 4])], &[]),
            Some(Answer::Failed("its answer is malformed".into()))
        );
        let many: Vec<_> = (0..50).map(six).collect();
        assert!(matches!(answer(&asked, &many, &[]), Some(Answer::Addresses(found)) if found.len() == MAX_ADDRESSES));
    }
}
