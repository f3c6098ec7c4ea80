//! One answer of many events, in the form of a whole one, or a whole one.

use super::super::reported;
use crate::frame::{Frame, Framing};
use crate::json::{Members, Node, Walk, object};
use crate::provider::{Collapse, Collapsed, Fault, Progress, growth, native_of};

/// Hides how long a text is.
const PADDING: &str = "p";

/// Puts the events of a stream together, or takes a whole answer.
pub(super) struct Collapser {
    whole: bool,
    answer: Node<'static>,
    message: Node<'static>,
    blocks: Vec<Growing>,
    kept_bytes: usize,
    progress: Progress,
}

/// A content block as it grows.
struct Growing {
    /// Its number, as events write it.
    index: String,
    block: Node<'static>,
    /// The pieces of a tool's input.
    input: String,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        if frame.exception {
            return Err(Fault::Upstream(reported(frame)));
        }
        if self.whole {
            let answer = native_of(frame.data)?;
            if !matches!(answer.at("/output/message"), Some(Node::Object(_))) {
                return Err(match answer.str("message") {
                    Some(message) => Fault::Upstream(message.to_owned()),
                    None => Fault::Unreadable("an answer without output.message".into()),
                });
            }
            self.answer = answer.into_owned();
            self.kept_bytes = frame.data.len();
            self.progress = Progress::Done;
        } else if !self.take_piece(frame.data) {
            self.take(frame.event, native_of(frame.data)?);
        }
        Ok(self.progress)
    }

    fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    fn finish(&mut self) -> Collapsed {
        let mut answer = std::mem::take(&mut self.answer);
        if self.whole {
            return answer.into();
        }
        let blocks = self.blocks.drain(..).map(Growing::finish).collect::<Vec<_>>();
        self.message.set("content", blocks);
        answer.entry("output").set("message", std::mem::take(&mut self.message));
        answer.into()
    }
}

impl Collapser {
    /// A collapser for a body in this framing.
    pub(super) fn new(framing: Framing) -> Self {
        Collapser {
            whole: framing == Framing::Whole,
            answer: Node::Object(Vec::new()),
            message: Node::Object(Vec::new()),
            blocks: Vec::new(),
            kept_bytes: 0,
            progress: Progress::More,
        }
    }

    /// Takes an event that is nothing but a piece of the last block's text or input, which most of a stream consists of,
    /// without taking it apart; whether it is one.
    fn take_piece(&mut self, event: &[u8]) -> bool {
        let Some(growing) = self.blocks.last_mut() else { return false };
        let piece = std::str::from_utf8(event).ok().and_then(|event| piece(event, &growing.index));
        let Some((is_input, literal)) = piece else { return false };
        let kept = match (is_input, growing.block.get_mut(if is_input { "toolUse" } else { "text" })) {
            (true, Some(_)) => &mut growing.input,
            (false, Some(Node::Text(text))) => text.to_mut(),
            _ => return false,
        };
        self.kept_bytes += growth::append(kept, literal);
        true
    }

    fn take(&mut self, event: &str, node: Node<'_>) {
        let Node::Object(mut members) = node else { return };
        members.retain(|(name, value)| name != PADDING && !matches!(value, Node::Null));
        match event {
            "contentBlockStart" | "contentBlockDelta" => self.block(members),
            "messageStart" => members.into_iter().for_each(|(name, value)| {
                self.message.set(name.into_owned(), value.into_owned());
            }),
            "messageStop" | "metadata" => {
                for (name, value) in members {
                    if name == "stopReason" && self.progress == Progress::More {
                        self.progress = Progress::Finished;
                    }
                    self.kept_bytes += value.kept_bytes();
                    self.answer.set(name.into_owned(), value.into_owned());
                }
                if event == "metadata" && self.progress == Progress::Finished {
                    self.progress = Progress::Done;
                }
            }
            _ => {} // the end of a block, or an event of a later version
        }
    }

    fn block(&mut self, members: Members<'_>) {
        let index = members.iter().find(|(name, _)| name == "contentBlockIndex");
        let index = index.map_or_else(|| "0".to_owned(), |(_, index)| index.to_json());
        for (name, value) in members {
            self.kept_bytes += value.kept_bytes();
            match &*name {
                "start" => {
                    self.blocks.push(Growing { index: index.clone(), block: value.into_owned(), input: String::new() });
                }
                "delta" => {
                    let Node::Object(pieces) = value else { continue };
                    pieces.into_iter().for_each(|(kind, piece)| self.open(&index, &kind, &piece).grow(&kind, piece));
                }
                _ => {}
            }
        }
    }

    /// The block of this number that a piece belongs to; a new one where there is none of its kind.
    fn open(&mut self, index: &str, kind: &str, piece: &Node<'_>) -> &mut Growing {
        let at = self.blocks.iter().rposition(|growing| growing.index == index && growing.takes(kind, piece));
        let at = at.unwrap_or_else(|| {
            let block = Node::Object(Vec::new());
            self.blocks.push(Growing { index: index.to_owned(), block, input: String::new() });
            self.blocks.len() - 1
        });
        &mut self.blocks[at]
    }
}

/// The member that texts and their sources come to, once there is a source.
const CITED: &str = "citationsContent";

impl Growing {
    fn takes(&self, kind: &str, piece: &Node<'_>) -> bool {
        match kind {
            _ if self.block.members().is_empty() => true,
            "text" | "citation" => self.block.get("text").is_some() || self.block.get(CITED).is_some(),
            // Each is a whole of its own.
            "reasoningContent" if piece.get("redactedContent").is_some() => false,
            "reasoningContent" => self.block.at("/reasoningContent/reasoningText").is_some(),
            kind => self.block.get(kind).is_some(),
        }
    }

    fn grow(&mut self, kind: &str, piece: Node<'_>) {
        let block = &mut self.block;
        match (kind, piece) {
            ("text", Node::Text(more)) => match block.get_mut(CITED) {
                Some(cited) => {
                    let texts = cited.entry("content");
                    match texts {
                        Node::List(texts) if !texts.is_empty() => growth::grow(texts[0].entry("text"), more.into()),
                        texts => *texts = vec![object! { "text": more.into_owned() }].into(),
                    }
                }
                None => growth::grow(block.entry("text"), more.into()),
            },
            ("citation", citation) => {
                if let Some(text) = block.remove("text") {
                    block.set(CITED, object! { "content": vec![object! { "text": text }] });
                }
                growth::grow(block.entry(CITED).entry("citations"), vec![citation].into());
            }
            ("toolUse", Node::Object(members)) => {
                for (name, value) in members {
                    match (&*name, value) {
                        ("input", Node::Text(more)) => self.input.push_str(&more),
                        (name, value) => growth::grow(block.entry(kind).entry(name), value),
                    }
                }
            }
            ("toolResult", items @ Node::List(_)) => growth::grow(block.entry(kind).entry("content"), items),
            ("reasoningContent", piece) if piece.get("redactedContent").is_none() => {
                growth::grow(block.entry(kind).entry("reasoningText"), piece);
            }
            (kind, piece) => growth::grow(block.entry(kind), piece),
        }
    }

    fn finish(self) -> Node<'static> {
        let Growing { mut block, input, .. } = self;
        if let Some(tool) = block.get_mut("toolUse") {
            if !input.is_empty() {
                tool.set("input", growth::of_pieces(&input).into_owned());
            } else if tool.get("input").is_none() {
                tool.set("input", Node::Object(Vec::new())); // a tool without arguments may come without a delta
            }
        }
        block
    }
}

/// What an event adds to the block of this number, as a JSON string, where it says nothing else; whether it is input.
fn piece<'a>(event: &'a str, index: &str) -> Option<(bool, &'a str)> {
    let mut said = None;
    let mut walk = Walk::new(event);
    walk.object(|walk, name| match name {
        "contentBlockIndex" => walk.eat(index),
        PADDING => walk.string().map(drop),
        "delta" => walk.object(|walk, name| match name {
            "text" => walk.literal().map(|literal| said = Some((false, literal))),
            "toolUse" => walk.object(|walk, name| match name {
                "input" => walk.literal().map(|literal| said = Some((true, literal))),
                _ => None,
            }),
            _ => None,
        }),
        _ => None,
    })?;
    walk.end()?;
    said
}
