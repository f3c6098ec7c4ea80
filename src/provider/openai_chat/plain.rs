//! The chunks that most of a stream consists of, read without taking them apart.

use crate::json::{Node, Walk};

/// What a chunk adds to the text of choice 0, as a JSON string, where it says nothing beside that is not known already.
pub(super) fn text<'a>(chunk: &'a str, known: &Node<'_>) -> Option<&'a str> {
    let mut text = None;
    let mut walk = Walk::new(chunk);
    walk.object(|walk, name| match name {
        "choices" => {
            walk.byte(b'[')?;
            text = choice(walk)?;
            walk.byte(b']')
        }
        "object" => walk.eat("\"chat.completion.chunk\""),
        "id" | "model" | "system_fingerprint" | "service_tier" if known.member(name).is_some() => {
            walk.string().map(drop)
        }
        "created" if known.member(name).is_some() => walk.digits(),
        "obfuscation" => walk.string().map(drop),
        _ => walk.eat("null"),
    })?;
    walk.end()?;
    text
}

fn choice<'a>(walk: &mut Walk<'a>) -> Option<Option<&'a str>> {
    let mut text = None;
    walk.object(|walk, name| match name {
        "index" => walk.byte(b'0'),
        "delta" => walk.object(|walk, name| match name {
            "content" => walk.literal().map(|literal| text = Some(literal)),
            "role" => walk.eat("\"assistant\""),
            _ => walk.eat("null"),
        }),
        _ => walk.eat("null"),
    })?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_is_plain() {
        let known = Node::parse(r#"{"id":"c","created":1}"#).unwrap();
        let chunk = |more: &str, choice: &str, delta: &str| {
            format!(
                r#"{{"id": "c", "object":"chat.completion.chunk","created":12{more},"choices":[{{"index":0,"delta":{{{delta}}}{choice}}}],"usage":null}}"#
            )
        };
        let nothing = r#","logprobs":null,"finish_reason":null"#;
        let says = |chunk: &str| text(chunk, &known).map(str::to_owned);
        assert_eq!(says(&chunk("", nothing, r#""content":"a\"b\\","refusal":null"#)).as_deref(), Some(r#""a\"b\\""#));
        assert_eq!(
            says(&chunk(r#","obfuscation":"x""#, "", r#""role":"assistant","content":"""#)).as_deref(),
            Some(r#""""#)
        );
        for other in [
            chunk("", "", ""),
            chunk("", "", r#""content":null"#),
            chunk("", "", r#""content":"a","refusal":"b""#),
            chunk("", "", r#""content":"a","tool_calls":[]"#),
            chunk("", r#","finish_reason":"stop""#, r#""content":"a""#),
            chunk("", "},{", r#""content":"a""#),
            chunk(r#","model":"m""#, "", r#""content":"a""#),
            chunk(r#","error":{}"#, "", r#""content":"a""#),
            chunk(".5", "", r#""content":"a""#),
            chunk("", "", "\"content\":\"a\nb\""),
            chunk("", "", r#""content":"a\"#),
            chunk("", "", r#""content":"a""#) + "1",
        ] {
            assert_eq!(says(&other), None, "{other}");
        }
    }
}
