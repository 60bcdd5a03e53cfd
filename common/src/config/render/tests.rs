//! Templates, good and bad, with and without secrets.

use serde_json::json;

use super::*;

fn context() -> RenderContext {
    let vars = json!({"workers": 4, "names": ["a", "b"], "html": "<&>"});
    RenderContext {
        vars: vars.as_object().unwrap().clone(),
        node: NodeContext {
            name: "web-1".to_owned(),
            id: NodeId::from_bytes([1; 8]),
            labels: serde_json::from_value(json!({"role": "web"})).unwrap(),
        },
        facts: FactsContext { cpus: 8, hostname: "web-1.example".to_owned(), ..FactsContext::default() },
    }
}

fn render(text: &str) -> Result<Rendered, RenderError> {
    let secret: SecretSource = Arc::new(|name| match name {
        "db" => Ok("hunter2".to_owned()),
        other => Err(format!("there is no secret `{other}` for this node")),
    });
    Renderer::new(&context(), secret).render("dir/a.html", text)
}

fn text(template: &str) -> String {
    String::from_utf8(render(template).unwrap().bytes).unwrap()
}

#[test]
fn a_template_sees_variables_node_and_facts_and_nothing_is_escaped() {
    assert_eq!(
        text(
            "{{ vars.workers }} {{ node.name }} {{ node.labels.role }} {{ facts.cpus * 2 }} {{ vars.html }}\n"
        ),
        "4 web-1 web 16 <&>\n"
    );
}

#[test]
fn block_tags_take_no_line_and_the_last_newline_stays() {
    assert_eq!(
        text("{% for n in vars.names %}\n  server {{ n }};\n{% endfor %}\nend\n"),
        "  server a;\n  server b;\nend\n"
    );
}

#[test]
fn what_is_not_defined_is_an_error_with_its_line() {
    let error = render("one\n{{ vars.worker }}\n").unwrap_err();
    assert_eq!((error.name.as_str(), error.line), ("dir/a.html", Some(2)));
    assert!(error.to_string().starts_with("templates/dir/a.html:2: undefined value"), "{error}");
    assert!(render("{% if nonsense %}{% endif %}").is_err());
    assert_eq!(text("{{ vars.worker | default(1) }}"), "1");
    assert_eq!(text("{% if vars.worker is defined %}x{% endif %}-"), "-");
}

#[test]
fn wrong_syntax_is_found_without_rendering() {
    let error = check_template("a", "fine\n\n{{ vars. }}\n").unwrap_err();
    assert_eq!(error.line, Some(3));
    assert!(error.message.contains("syntax error"), "{error}");
    assert_eq!(check_template("a", "{% if x %}{{ secret('y') }}{% endif %}"), Ok(()));
}

#[test]
fn a_template_that_asked_for_a_secret_is_marked_and_prints_redacted() {
    let rendered = render("password={{ secret(\"db\") }}").unwrap();
    assert_eq!(rendered.bytes, b"password=hunter2");
    assert!(rendered.is_secret);
    assert!(!format!("{rendered:?}").contains("hunter2") && format!("{rendered:?}").contains("[redacted]"));
    assert!(!render("{{ vars.workers }}").unwrap().is_secret);
    let error = render("\n{{ secret(\"dbb\") }}").unwrap_err();
    assert_eq!((error.line, error.message.as_str()), (Some(2), "there is no secret `dbb` for this node"));
}

#[test]
fn no_error_repeats_what_a_secret_made() {
    for template in [
        "{{ secret('db') | int }}",
        "{{ secret('db') + 1 }}",
        "{{ vars[secret('db')] }}",
        "{{ secret('db').hunter2x() }}",
    ] {
        let error = render(template).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{template}: {error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{template}: {error:?}");
    }
}

#[test]
fn a_mark_does_not_pass_to_the_next_template() {
    let mut renderer = Renderer::new(&context(), Arc::new(|_| Ok("x".to_owned())));
    assert!(renderer.render("a", "{{ secret('a') }}").unwrap().is_secret);
    assert!(!renderer.render("b", "plain").unwrap().is_secret);
}

#[test]
fn nothing_is_included_and_nothing_runs_for_ever_or_grows_without_end() {
    let included = render("{% include 'other' %}").unwrap_err();
    assert!(included.message.contains("cannot include"), "{included}");
    let nested = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
    assert!(render(nested).unwrap_err().message.contains("too many steps"));
    let grown = "{% set s = 'x' * 100000 %}{% for a in range(1000) %}{{ s }}{% endfor %}";
    assert!(render(grown).unwrap_err().message.contains("more than 16777216 bytes"));
}
