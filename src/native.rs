//! What an answer had beyond its readable form, so that its own wire can give it back whole.
//!
//! A wire writes a [`Reply`] as a *native* answer, the provider's own object. [`Native`] is what a recorded
//! native answer had and that one has not: [`Native::between`] finds it, [`Native::lay_over`] brings it back. Where the
//! readable form was edited meanwhile, what has no place any more is left out, and named.
//!
//! Pointers are JSON pointers into the recorded answer. An entry that ends in a list's index is an item that stands there
//! (in `at`) or an item of the written form that does not (in `without`, by its index there). A text of the readable form
//! that stands elsewhere too is kept as `{"$": POINTER}`, the place where the written form has it, or as
//! `{"$json": POINTER}` where that is its JSON.

use crate::json::{Node, step, steps};
use crate::reply::{Part, Reply};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The member of an object that stands for a text of the written form.
const LINK: &str = "$";

/// The same for the JSON in such a text.
const JSON_LINK: &str = "$json";

/// Longest lists whose items are paired by likeness, as the product of both lengths; longer ones are paired by index.
const MAX_PAIRED: usize = 250_000;

/// What a recorded answer has beyond what its readable form is written as.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Native {
    /// The name of its wire; on others it means nothing.
    pub wire: String,
    /// What stands where.
    pub at: Vec<(String, Node<'static>)>,
    /// What the written form has and the answer had not.
    pub without: Vec<String>,
    /// The kinds of the items of those written lists that have entries within, so that each finds its item again.
    pub kinds: Vec<(String, String)>,
}

impl Native {
    /// What `answer` has beyond `written`; `sources` are what the readable form says. `None` where there is nothing.
    pub fn between(wire: &str, written: &Node<'_>, answer: &Node<'_>, sources: &Sources<'_>) -> Option<Native> {
        let mut found = Native { wire: wire.to_owned(), ..Native::default() };
        let links = Links::of(written, sources);
        found.differ(written, answer, &mut String::new(), &links);
        let listed = |list: &str, native: &Native| {
            let within = |pointer: &str| pointer.strip_prefix(list).is_some_and(|rest| rest.starts_with('/'));
            native.at.iter().any(|(pointer, _)| within(pointer)) || native.without.iter().any(|p| within(p))
        };
        let mut kinds = std::mem::take(&mut found.kinds);
        kinds.retain(|(list, kinds)| kinds.contains(' ') && listed(list, &found));
        found.kinds = kinds;
        (!found.at.is_empty() || !found.without.is_empty()).then_some(found)
    }

    fn differ(&mut self, written: &Node<'_>, answer: &Node<'_>, place: &mut String, links: &Links<'_>) {
        match (written, answer) {
            (Node::Object(old), Node::Object(new)) => {
                for (name, value) in new {
                    within(place, name, |place| match written.member(name) {
                        Some(old) => self.differ(old, value, place, links),
                        None if matches!(value, Node::Null) => {}
                        None => self.at.push((place.clone(), links.kept(value))),
                    });
                }
                for (name, value) in old {
                    if answer.member(name).is_none() && !matches!(value, Node::Null) {
                        within(place, name, |place| self.without.push(place.clone()));
                    }
                }
            }
            (Node::List(old), Node::List(new)) if old.iter().chain(new).all(|i| matches!(i, Node::Object(_))) => {
                self.kinds.push((place.clone(), kinds(old)));
                self.items(&pairs(old, new), (old, new), place, links);
            }
            _ if written.same(answer) => {}
            // Null is as good as absent.
            (_, Node::Null) => self.without.push(place.clone()),
            _ => self.at.push((place.clone(), links.kept(answer))),
        }
    }

    fn items(
        &mut self,
        pairs: &[(usize, usize)],
        (old, new): (&[Node<'_>], &[Node<'_>]),
        place: &mut String,
        links: &Links<'_>,
    ) {
        for i in (0..old.len()).filter(|i| pairs.iter().all(|(old, _)| old != i)) {
            within(place, &i.to_string(), |place| self.without.push(place.clone()));
        }
        for (j, item) in new.iter().enumerate() {
            let pair = pairs.iter().find(|(_, new)| *new == j);
            within(place, &j.to_string(), |place| match pair {
                Some((i, _)) => self.differ(&old[*i], item, place, links),
                None => self.at.push((place.clone(), links.kept(item))),
            });
        }
    }

    /// Brings back onto the written form what the recorded answer had; the pointers of entries that have no place there
    /// any more.
    pub fn lay_over(&self, written: &mut Node<'_>) -> Vec<String> {
        let mut tree = Entries::default();
        let mut lost = Vec::new();
        for (pointer, value) in &self.at {
            let mut value = value.clone();
            if resolve(&mut value, written) {
                tree.at(pointer).value = Some(value);
            } else {
                lost.push(pointer.clone());
            }
        }
        for pointer in &self.without {
            tree.at(pointer).gone = true;
        }
        for (list, kinds) in &self.kinds {
            tree.at(list).kinds = Some(kinds);
        }
        tree.lay_over(written, &mut String::new(), &mut lost);
        lost
    }
}

/// Goes a step down and up again.
fn within(place: &mut String, name: &str, then: impl FnOnce(&mut String)) {
    let len = place.len();
    place.push('/');
    place.push_str(&step(name));
    then(place);
    place.truncate(len);
}

// ------------------------------------------------------------------------------------------------------------ links

/// What a readable form says, so that it is known again wherever it stands.
#[derive(Debug, Default)]
pub struct Sources<'t> {
    /// Texts: what was said and thought, the arguments of calls.
    texts: Vec<&'t str>,
    /// Objects: arguments, usage.
    objects: Vec<Node<'t>>,
}

impl<'t> Sources<'t> {
    /// The texts and objects of a turn.
    pub fn of(reply: &'t Reply) -> Self {
        let mut sources = Sources::default();
        for part in &reply.parts {
            match part {
                Part::Text { text, .. } | Part::Reasoning { text, .. } => sources.texts.push(text),
                Part::ToolCall(call) => {
                    sources.texts.push(&call.arguments);
                    sources.objects.extend(Node::parse(&call.arguments));
                }
                Part::RedactedReasoning(data) => sources.texts.push(data),
                Part::Verbatim(_) => {}
            }
        }
        sources.texts.extend(reply.refusal.as_deref());
        sources.objects.extend(reply.usage.as_ref().map(Node::from));
        sources.texts.retain(|text| !text.is_empty());
        sources.objects.retain(|object| matches!(object, Node::Object(members) if !members.is_empty()));
        sources
    }

    fn have(&self, node: &Node<'_>) -> bool {
        match node {
            Node::Text(text) => self.texts.contains(&&**text),
            Node::Object(_) => self.objects.iter().any(|object| object.same(node)),
            _ => false,
        }
    }
}

/// Where the written form has what the readable one says.
struct Links<'t>(Vec<(Cow<'t, Node<'t>>, Link)>);

/// A place in the written form.
#[derive(Clone)]
enum Link {
    /// What stands there.
    Same(String),
    /// The JSON in the text that stands there.
    Json(String),
}

impl<'t> Links<'t> {
    fn of(written: &'t Node<'t>, sources: &Sources<'_>) -> Self {
        let mut links = Links(Vec::new());
        links.look(written, &mut String::new(), sources);
        links
    }

    fn look(&mut self, node: &'t Node<'t>, place: &mut String, sources: &Sources<'_>) {
        if sources.have(node) {
            self.0.push((Cow::Borrowed(node), Link::Same(place.clone())));
            if let Node::Text(text) = node
                && let Ok(object @ Node::Object(_)) = Node::parse(text)
            {
                self.0.push((Cow::Owned(object), Link::Json(place.clone())));
            }
            return;
        }
        for (name, value) in node.members() {
            within(place, name, |place| self.look(value, place, sources));
        }
        for (i, item) in node.items().iter().enumerate() {
            within(place, &i.to_string(), |place| self.look(item, place, sources));
        }
    }

    /// The value as it is kept: with links for what the written form has.
    fn kept(&self, value: &Node<'_>) -> Node<'static> {
        if let Some((_, link)) = self.0.iter().find(|(text, _)| text.same(value)) {
            let (name, place) = match link {
                Link::Same(place) => (LINK, place),
                Link::Json(place) => (JSON_LINK, place),
            };
            return Node::Object(vec![(Cow::Borrowed(name), Node::text(place.clone()))]);
        }
        match value {
            Node::List(items) => Node::List(items.iter().map(|item| self.kept(item)).collect()),
            Node::Object(members) => {
                let kept =
                    members.iter().map(|(name, value)| (Cow::Owned(name.clone().into_owned()), self.kept(value)));
                let kept = Node::Object(kept.collect());
                // What looks like a link and is none.
                let literal = matches!(&members[..], [(name, _)] if name == LINK || name == JSON_LINK);
                if literal { Node::Object(vec![(Cow::Borrowed(LINK), kept)]) } else { kept }
            }
            other => other.clone().into_owned(),
        }
    }
}

/// Puts what is linked in the place of links; `false` where it is gone.
fn resolve(value: &mut Node<'static>, written: &Node<'_>) -> bool {
    match value {
        Node::Object(members) => match &mut members[..] {
            [(name, Node::Text(pointer))] if name == LINK => match written.at(pointer) {
                Some(there) => {
                    *value = there.clone().into_owned();
                    true
                }
                None => false,
            },
            [(name, Node::Text(pointer))] if name == JSON_LINK => {
                match written.at(pointer).and_then(Node::as_str).map(Node::parse) {
                    Some(Ok(json)) => {
                        *value = json.into_owned();
                        true
                    }
                    _ => false,
                }
            }
            [(name, literal @ Node::Object(_))] if name == LINK => {
                *value = std::mem::take(literal);
                let Node::Object(members) = value else { return true };
                members.iter_mut().all(|(_, value)| resolve(value, written))
            }
            members => members.iter_mut().all(|(_, value)| resolve(value, written)),
        },
        Node::List(items) => items.iter_mut().all(|item| resolve(item, written)),
        _ => true,
    }
}

// ------------------------------------------------------------------------------------------------------------ lists

/// What an item is, in a word: its `type`, role or first member, and its name.
fn kind(item: &Node<'_>) -> String {
    let first = item.members().first();
    let kind = item.str("type").or(item.str("role")).or(first.map(|(name, _)| &**name)).unwrap_or("-");
    let inner = ["function", "custom"].into_iter().find_map(|name| item.get(name)).or(first.map(|(_, value)| value));
    let name = item.str("name").or_else(|| inner.and_then(|inner| inner.str("name"))).unwrap_or("");
    let word = |text: &str| text.chars().map(|c| if c.is_whitespace() { '_' } else { c }).collect::<String>();
    if name.is_empty() { word(kind) } else { format!("{}:{}", word(kind), word(name)) }
}

fn kinds(items: &[Node<'_>]) -> String {
    items.iter().map(kind).collect::<Vec<_>>().join(" ")
}

/// Pairs the items of two lists, in order: equal ones rather than those of one kind.
fn pairs(old: &[Node<'_>], new: &[Node<'_>]) -> Vec<(usize, usize)> {
    let (old_kinds, new_kinds): (Vec<_>, Vec<_>) = (old.iter().map(kind).collect(), new.iter().map(kind).collect());
    let likeness = |i: usize, j: usize| match old_kinds[i] == new_kinds[j] {
        true if old[i].same(&new[j]) => 3,
        true => 2,
        false => 0,
    };
    align(old.len(), new.len(), likeness)
}

/// The best pairing of two sequences that keeps both orders.
fn align(old: usize, new: usize, likeness: impl Fn(usize, usize) -> u32) -> Vec<(usize, usize)> {
    if old * new > MAX_PAIRED {
        return (0..old.min(new)).filter(|i| likeness(*i, *i) > 0).map(|i| (i, i)).collect();
    }
    let mut best = vec![0u32; (old + 1) * (new + 1)];
    let at = |i: usize, j: usize| i * (new + 1) + j;
    for i in (0..old).rev() {
        for j in (0..new).rev() {
            let like = likeness(i, j);
            let paired = if like > 0 { best[at(i + 1, j + 1)] + like } else { 0 };
            best[at(i, j)] = paired.max(best[at(i + 1, j)]).max(best[at(i, j + 1)]);
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < old && j < new {
        let like = likeness(i, j);
        if like > 0 && best[at(i, j)] == best[at(i + 1, j + 1)] + like {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if best[at(i, j)] == best[at(i + 1, j)] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

// ---------------------------------------------------------------------------------------------------------- entries

/// The entries at a place and below it.
#[derive(Default)]
struct Entries<'n> {
    value: Option<Node<'static>>,
    gone: bool,
    kinds: Option<&'n str>,
    below: BTreeMap<String, Entries<'n>>,
}

impl<'n> Entries<'n> {
    fn at(&mut self, pointer: &str) -> &mut Self {
        steps(pointer).fold(self, |entries, step| entries.below.entry(step.into_owned()).or_default())
    }

    /// Names all that is here and below.
    fn lose(&self, place: &mut String, lost: &mut Vec<String>) {
        if self.value.is_some() || self.gone {
            lost.push(place.clone());
        }
        for (name, entries) in &self.below {
            within(place, name, |place| entries.lose(place, lost));
        }
    }

    fn lay_over(self, node: &mut Node<'_>, place: &mut String, lost: &mut Vec<String>) {
        match node {
            Node::List(items) if self.below.keys().all(|step| step.parse::<usize>().is_ok()) => {
                let laid = self.over_items(std::mem::take(items), place, lost);
                *items = laid;
            }
            Node::Object(_) => {
                for (name, entries) in self.below {
                    within(place, &name, |place| entries.over_member(node, &name, place, lost));
                }
            }
            _ => {
                for (name, entries) in &self.below {
                    within(place, name, |place| entries.lose(place, lost));
                }
            }
        }
    }

    fn over_member(mut self, object: &mut Node<'_>, name: &str, place: &mut String, lost: &mut Vec<String>) {
        if self.gone {
            // Already gone: as it was.
            object.remove(name);
        } else if let Some(value) = self.value.take() {
            object.set(name.to_owned(), value);
        } else {
            match object.get_mut(name) {
                Some(node) => self.lay_over(node, place, lost),
                None => self.lose(place, lost),
            }
        }
    }

    /// The list with what was inserted and without what was not there.
    fn over_items<'a>(mut self, items: Vec<Node<'a>>, place: &mut String, lost: &mut Vec<String>) -> Vec<Node<'a>> {
        let now: Vec<String> = items.iter().map(kind).collect();
        let then: Vec<&str> = match self.kinds {
            Some(kinds) => kinds.split(' ').collect(),
            None => now.iter().map(String::as_str).collect(),
        };
        // The written items as they were, each with where it is now.
        let found = align(then.len(), now.len(), |i, j| u32::from(then[i] == now[j]));
        let item_now = |i: usize| found.iter().find(|(then, _)| *then == i).map(|(_, now)| *now);
        let mut by_index: Vec<(usize, Entries<'n>)> =
            std::mem::take(&mut self.below).into_iter().filter_map(|(step, e)| Some((step.parse().ok()?, e))).collect();
        by_index.sort_by_key(|(index, _)| *index);
        let gone: Vec<usize> = by_index.iter().filter(|(_, e)| e.gone).map(|(index, _)| *index).collect();
        let mut slots: Vec<Slot> = (0..then.len()).filter(|i| !gone.contains(i)).map(Slot::Written).collect();
        let mut inner = BTreeMap::new();
        for (index, mut entries) in by_index {
            match entries.value.take() {
                Some(value) if index <= slots.len() => slots.insert(index, Slot::New(value)),
                Some(_) => within(place, &index.to_string(), |place| lost.push(place.clone())),
                None if entries.below.is_empty() && entries.kinds.is_none() => {}
                None => drop(inner.insert(index, entries)),
            }
        }
        let dropped: Vec<usize> = gone.iter().filter_map(|i| item_now(*i)).collect();
        let mut items: Vec<Option<Node<'a>>> = items.into_iter().map(Some).collect();
        let (mut out, mut next) = (Vec::new(), 0);
        // Items that a person added stay behind those that they follow.
        let mut added = |until: usize, out: &mut Vec<Node<'a>>, items: &mut Vec<Option<Node<'a>>>| {
            for (at, item) in items.iter_mut().enumerate().take(until).skip(next) {
                out.extend(item.take().filter(|_| !dropped.contains(&at)));
            }
            next = next.max(until);
        };
        for (j, slot) in slots.into_iter().enumerate() {
            let entries = inner.remove(&j);
            match slot {
                Slot::New(value) => out.push(value),
                Slot::Written(i) => {
                    let Some(at) = item_now(i) else {
                        let entries = entries.unwrap_or_default();
                        within(place, &j.to_string(), |place| entries.lose(place, lost));
                        continue;
                    };
                    added(at, &mut out, &mut items);
                    let Some(mut item) = items[at].take() else { continue };
                    if let Some(entries) = entries {
                        within(place, &j.to_string(), |place| entries.lay_over(&mut item, place, lost));
                    }
                    out.push(item);
                }
            }
        }
        for (j, entries) in inner {
            within(place, &j.to_string(), |place| entries.lose(place, lost));
        }
        added(items.len(), &mut out, &mut items);
        out
    }
}

/// An item of the recorded list.
enum Slot {
    /// The written form's item of that index.
    Written(usize),
    /// An item of its own.
    New(Node<'static>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn node(text: &str) -> Node<'_> {
        Node::parse(text).expect("JSON")
    }

    fn sources<'t>(texts: &[&'t str]) -> Sources<'t> {
        let objects = texts.iter().flat_map(|text| Node::parse(text)).filter(|node| !node.members().is_empty());
        Sources { texts: texts.to_vec(), objects: objects.collect() }
    }

    #[track_caller]
    fn laid(written: &str, answer: &str, texts: &[&str]) -> Native {
        let native = Native::between("w", &node(written), &node(answer), &sources(texts)).unwrap_or_default();
        let mut again = node(written);
        assert_eq!(native.lay_over(&mut again), Vec::<String>::new());
        assert_eq!(again.to_json(), Node::parse(answer).expect("JSON").to_json());
        native
    }

    #[test]
    fn nothing_is_kept_of_what_is_alike() {
        let written = r#"{"id":"a","n":1,"list":[{"x":1}],"nothing":null}"#;
        assert_eq!(
            Native::between("w", &node(written), &node(r#"{"n":1.0,"id":"a","list":[{"x":1}]}"#), &sources(&[])),
            None
        );
    }

    #[test]
    fn members_come_and_go() {
        let native = laid(r#"{"id":"a","created":5,"in":{"x":1}}"#, r#"{"id":"b","in":{"x":1,"y":[1,2]}}"#, &[]);
        assert_eq!(native.without, ["/created"]);
        let at: Vec<_> = native.at.iter().map(|(p, v)| (&**p, v.to_json())).collect();
        assert_eq!(at, [("/id", "\"b\"".to_owned()), ("/in/y", "[1,2]".to_owned())]);
    }

    #[test]
    fn items_stand_between_those_that_are_written() {
        let written = r#"{"output":[{"type":"a","t":"1"},{"type":"m","t":"2"}]}"#;
        let answer = r#"{"output":[{"type":"x","q":[]},{"type":"a","t":"1","id":"i"},{"type":"y"},{"type":"m","t":"2","id":"j"},{"type":"z"}]}"#;
        let native = laid(written, answer, &[]);
        let at: Vec<_> = native.at.iter().map(|(p, _)| &**p).collect();
        assert_eq!(at, ["/output/0", "/output/1/id", "/output/2", "/output/3/id", "/output/4"]);
        assert_eq!(native.kinds, [("/output".to_owned(), "a m".to_owned())]);
    }

    #[test]
    fn no_text_stands_twice() {
        let written = r#"{"content":"a long text","calls":[{"name":"f","input":{"a":1}}]}"#;
        let answer = r#"{"content":[{"thinking":"no"},{"text":"a long text"}],"calls":[{"name":"f","input":{"a":1}}],"again":{"a":1}}"#;
        let native = laid(written, answer, &["a long text", r#"{"a": 1}"#]);
        let text: String = native.at.iter().map(|(_, v)| v.to_json()).collect();
        assert_eq!(text, r#"[{"thinking":"no"},{"text":{"$":"/content"}}]{"$":"/calls/0/input"}"#);
        let native = laid(r#"{"arguments":"{\"a\": 1}"}"#, r#"{"input":{"a":1}}"#, &[r#"{"a": 1}"#]);
        assert_eq!(native.at[0].1.to_json(), r#"{"$json":"/arguments"}"#);
        laid("{}", r#"{"a":{"$":"/content"},"b":{"$":{"$":1}},"c":{"$json":"x"}}"#, &[]);
    }

    #[test]
    fn an_edited_text_is_followed() {
        let native = laid(r#"{"content":"old"}"#, r#"{"content":[{"text":"old"}],"id":"x"}"#, &["old"]);
        let mut edited = node(r#"{"content":"new"}"#);
        assert_eq!(native.lay_over(&mut edited), Vec::<String>::new());
        assert_eq!(edited.to_json(), r#"{"content":[{"text":"new"}],"id":"x"}"#);
    }

    #[test]
    fn entries_follow_their_items_when_others_come_or_go() {
        let written = r#"{"output":[{"type":"r"},{"type":"m"},{"type":"c","name":"f"}]}"#;
        let answer =
            r#"{"output":[{"type":"r","id":1},{"type":"x"},{"type":"m","id":2},{"type":"c","name":"f","id":3}]}"#;
        let native = laid(written, answer, &[]);
        let over = |written: &str| {
            let mut edited = node(written).into_owned();
            let lost = native.lay_over(&mut edited);
            (edited.to_json(), lost)
        };
        let (json, lost) = over(r#"{"output":[{"type":"m"},{"type":"c","name":"f"}]}"#);
        assert_eq!(json, r#"{"output":[{"type":"x"},{"type":"m","id":2},{"type":"c","name":"f","id":3}]}"#);
        assert_eq!(lost, ["/output/0/id"]);
        let (json, lost) =
            over(r#"{"output":[{"type":"r"},{"type":"m"},{"type":"c","name":"g"},{"type":"c","name":"f"}]}"#);
        assert_eq!(
            json,
            r#"{"output":[{"type":"r","id":1},{"type":"x"},{"type":"m","id":2},{"type":"c","name":"g"},{"type":"c","name":"f","id":3}]}"#
        );
        assert_eq!(lost, Vec::<String>::new());
    }

    #[test]
    fn what_is_left_of_a_removed_item_is_named() {
        let native = laid(r#"{"a":{"b":1}}"#, r#"{"a":{"b":1,"c":{"d":2}}}"#, &[]);
        let mut edited = node(r#"{"x":1}"#);
        assert_eq!(native.lay_over(&mut edited), ["/a/c"]);
        assert_eq!(edited.to_json(), r#"{"x":1}"#);
    }

    fn value() -> impl Strategy<Value = Node<'static>> {
        let word = proptest::sample::select(vec!["a", "b", "type", "$", "x/y", "name"]);
        let leaf = prop_oneof![
            (0u64..3).prop_map(Node::from),
            "[ab]{0,2}".prop_map(Node::from),
            any::<bool>().prop_map(Node::from)
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            let members = vec((word.clone(), inner.clone()), 0..4).prop_map(|members| {
                let mut object = Node::Object(Vec::new());
                members.into_iter().for_each(|(name, value)| object.set(name, value));
                object
            });
            prop_oneof![vec(inner, 0..4).prop_map(Node::from), members]
        })
    }

    proptest! {
        #[test]
        fn any_answer_comes_back_over_any_written_form(written in value(), answer in value()) {
            let (written, answer) = (object(written), object(answer));
            let native = Native::between("w", &written, &answer, &sources(&["a", "ab"])).unwrap_or_default();
            let mut again = written.clone();
            prop_assert_eq!(native.lay_over(&mut again), Vec::<String>::new());
            prop_assert!(again.same(&answer), "{} over {} gives {}, not {}", format!("{native:?}"), written.to_json(), again.to_json(), answer.to_json());
        }
    }

    fn object(value: Node<'static>) -> Node<'static> {
        Node::Object(vec![("o".into(), value)])
    }
}
