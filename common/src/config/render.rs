//! Templates: Jinja's language, strict, without files and without an end to wait for. Pure: variables, the node and its
//! facts in, bytes out.
//!
//! A template sees `vars`, `node` (`name`, `id`, `labels`), `facts` (`hostname`, `os`, `kernel`, `architecture`, `cpus`,
//! `memory_bytes`) and the function `secret("NAME")`. What is not defined is an error, never empty. Block tags take up no
//! line of their own. A result into which a secret went is marked, and no error repeats what such a template computed.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value as Jinja};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::NodeId;
use crate::label::Labels;

/// Most bytes of what one template renders to.
pub const RENDERED_BYTES_MAX: usize = super::PART_BYTES_MAX;
/// Steps that one template may take: some ten thousand lines from a loop; an endless one ends in less than a second.
const FUEL: u64 = 5_000_000;

/// Gives the value of a secret by its name, or says in a sentence why it cannot.
pub type SecretSource = Arc<dyn Fn(&str) -> Result<String, String> + Send + Sync>;

/// The node, as templates see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeContext {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: NodeId,
    /// Its labels.
    pub labels: Labels,
}

/// What the node says of itself, as templates see it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FactsContext {
    /// Its host name.
    pub hostname: String,
    /// Its distribution.
    pub os: String,
    /// Release of its kernel.
    pub kernel: String,
    /// Its architecture.
    pub architecture: String,
    /// Processors.
    pub cpus: u32,
    /// Memory.
    pub memory_bytes: u64,
}

/// What templates see.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RenderContext {
    /// Merged variables.
    pub vars: Map<String, Value>,
    /// The node.
    pub node: NodeContext,
    /// Its facts.
    pub facts: FactsContext,
}

/// A rendered template.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The result.
    pub bytes: Vec<u8>,
    /// A secret was asked for on the way: it is in no diff, no log and no output.
    pub is_secret: bool,
}

impl std::fmt::Debug for Rendered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes: &dyn std::fmt::Debug = if self.is_secret { &"[redacted]" } else { &self.bytes };
        f.debug_struct("Rendered").field("bytes", bytes).field("is_secret", &self.is_secret).finish()
    }
}

/// A template that is wrong, or does not fit what it is given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("templates/{name}:{}: {message}", line.unwrap_or(1))]
pub struct RenderError {
    /// Its path below `templates/`.
    pub name: String,
    /// Where, counted from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// Renders the templates of one node.
pub struct Renderer {
    environment: Environment<'static>,
    context: Jinja,
    /// A secret was asked for by the template at hand.
    has_secret: Arc<AtomicBool>,
}

impl Renderer {
    /// For one node; `secret` is asked whenever a template asks.
    pub fn new(context: &RenderContext, secret: SecretSource) -> Self {
        let has_secret = Arc::new(AtomicBool::new(false));
        let mut environment = environment();
        let mark = Arc::clone(&has_secret);
        environment.add_function("secret", move |name: String| {
            mark.store(true, Ordering::Relaxed);
            secret(&name)
                .map_err(|why| minijinja::Error::new(ErrorKind::InvalidOperation, SECRET.to_owned() + &why))
        });
        Self { environment, context: Jinja::from(Serde(context)), has_secret }
    }

    /// Renders the template `name`.
    ///
    /// # Errors
    /// When it is wrong, asks for what is not there, takes too long or becomes too large.
    pub fn render(&mut self, name: &str, text: &str) -> Result<Rendered, RenderError> {
        self.has_secret.store(false, Ordering::Relaxed);
        let mut sink = Sink { bytes: Vec::new(), is_full: false };
        let done = self
            .environment
            .template_from_named_str(name, text)
            .and_then(|template| template.render_captured_to(self.context.clone(), &mut sink).map(drop));
        let is_secret = self.has_secret.load(Ordering::Relaxed);
        match done {
            Ok(()) => Ok(Rendered { bytes: sink.bytes, is_secret }),
            Err(_) if sink.is_full => Err(RenderError {
                name: name.to_owned(),
                line: None,
                message: format!("it renders to more than {RENDERED_BYTES_MAX} bytes"),
            }),
            Err(error) => Err(told(name, &error, is_secret)),
        }
    }
}

/// Checks a template's syntax.
///
/// # Errors
/// When it is wrong.
pub fn check_template(name: &str, text: &str) -> Result<(), RenderError> {
    let environment = environment();
    let checked = environment.template_from_named_str(name, text);
    checked.map(drop).map_err(|error| told(name, &error, false))
}

/// Begins our own errors about secrets, which never hold one.
const SECRET: &str = "secret: ";

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    let syntax =
        SyntaxConfig::builder().keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the usual delimiters"));
    environment.set_fuel(Some(FUEL));
    environment
}

fn told(name: &str, error: &minijinja::Error, is_secret: bool) -> RenderError {
    let detail = error.detail().unwrap_or_default();
    let message = match error.kind() {
        ErrorKind::TemplateNotFound => "a template cannot include, import or extend another one".to_owned(),
        ErrorKind::OutOfFuel => "it takes too many steps: does a loop have an end?".to_owned(),
        ErrorKind::InvalidOperation if detail.starts_with(SECRET) => {
            detail.strip_prefix(SECRET).unwrap_or_default().to_owned()
        }
        // What it computed with may be the secret.
        kind if is_secret => kind.to_string(),
        kind if detail.is_empty() => kind.to_string(),
        kind => format!("{kind}: {detail}"),
    };
    RenderError { name: name.to_owned(), line: error.line(), message }
}

/// Takes bytes up to a limit.
struct Sink {
    bytes: Vec<u8>,
    is_full: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > RENDERED_BYTES_MAX {
            self.is_full = true;
            return Err(io::Error::other("too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
