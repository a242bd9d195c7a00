//! What names mean, by the imports.

use ruff_python_ast::visitor::{Visitor, walk_stmt};
use ruff_python_ast::{Expr, Stmt};
use std::collections::BTreeMap;

/// Names bound by imports, with what they stand for.
pub struct Imports(BTreeMap<String, String>);

impl Imports {
    /// Of all imports in a module, those inside functions too.
    pub fn of(body: &[Stmt]) -> Self {
        struct Collect(BTreeMap<String, String>);
        impl<'a> Visitor<'a> for Collect {
            fn visit_stmt(&mut self, stmt: &'a Stmt) {
                match stmt {
                    Stmt::Import(import) => {
                        for alias in import.names.iter().filter(|alias| alias.asname.is_some()) {
                            let bound = alias.asname.as_ref().unwrap_or(&alias.name);
                            self.0.insert(bound.to_string(), alias.name.to_string());
                        }
                    }
                    Stmt::ImportFrom(import) => {
                        let module = import.module.as_ref().map(ToString::to_string).unwrap_or_default();
                        for alias in &import.names {
                            let bound = alias.asname.as_ref().unwrap_or(&alias.name);
                            self.0.insert(bound.to_string(), format!("{module}.{}", alias.name));
                        }
                    }
                    _ => walk_stmt(self, stmt),
                }
            }
        }
        let mut collect = Collect(BTreeMap::new());
        collect.visit_body(body);
        Self(collect.0)
    }

    /// The dotted path of a name or a chain of attributes, its first part replaced by what it was imported as.
    pub fn meaning(&self, expr: &Expr) -> Option<String> {
        match expr {
            Expr::Name(name) => Some(self.0.get(name.id.as_str()).cloned().unwrap_or_else(|| name.id.to_string())),
            Expr::Attribute(attribute) => Some(format!("{}.{}", self.meaning(&attribute.value)?, attribute.attr)),
            _ => None,
        }
    }
}
