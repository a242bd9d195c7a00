//! What names mean, by the imports, and what is bound to them.

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_parameter, walk_stmt};
use ruff_python_ast::{Expr, ExprContext, Parameter, Stmt};
use std::collections::BTreeMap;

/// What a path begins with whose origin is not known.
const UNKNOWN: &str = "?";

/// Names bound by imports, with what they stand for.
#[derive(Default)]
pub struct Imports(BTreeMap<String, String>);

impl Imports {
    /// Adds all imports of a module, those inside functions too.
    pub fn read(&mut self, body: &[Stmt]) {
        struct Collect<'m>(&'m mut BTreeMap<String, String>);
        impl<'a> Visitor<'a> for Collect<'_> {
            fn visit_stmt(&mut self, stmt: &'a Stmt) {
                match stmt {
                    Stmt::Import(import) => {
                        for alias in &import.names {
                            let first = alias.name.split('.').next().unwrap_or_default();
                            let (bound, meant) = match &alias.asname {
                                Some(name) => (name.as_str(), alias.name.as_str()),
                                None => (first, first),
                            };
                            self.0.insert(bound.to_string(), meant.to_string());
                        }
                    }
                    Stmt::ImportFrom(import) => {
                        // A module of the package's own is not the one of the same name that everybody knows.
                        let own = if import.level > 0 { UNKNOWN } else { "" };
                        let module = import.module.as_ref().map(ToString::to_string).unwrap_or_default();
                        for alias in &import.names {
                            let bound = alias.asname.as_ref().unwrap_or(&alias.name);
                            self.0.insert(bound.to_string(), format!("{own}{module}.{}", alias.name));
                        }
                    }
                    _ => walk_stmt(self, stmt),
                }
            }
        }
        Collect(&mut self.0).visit_body(body);
    }

    /// The dotted path of a name or a chain of attributes, its first part replaced by what it was imported as. It begins
    /// with a question mark where it is not known to come from elsewhere.
    pub fn meaning(&self, expr: &Expr) -> Option<String> {
        match expr {
            Expr::Name(name) => {
                Some(self.0.get(name.id.as_str()).cloned().unwrap_or_else(|| format!("{UNKNOWN}{}", name.id)))
            }
            Expr::Attribute(attribute) => Some(format!("{}.{}", self.meaning(&attribute.value)?, attribute.attr)),
            _ => None,
        }
    }
}

/// Names that one assignment alone binds, with what it gives them.
pub struct Bindings<'a>(BTreeMap<&'a str, &'a Expr>);

impl<'a> Bindings<'a> {
    /// Reads the statements of a module, those inside functions too.
    pub fn read(body: &'a [Stmt]) -> Self {
        #[derive(Default)]
        struct Collect<'a> {
            values: BTreeMap<&'a str, &'a Expr>,
            times: BTreeMap<&'a str, usize>,
        }
        impl<'a> Visitor<'a> for Collect<'a> {
            fn visit_stmt(&mut self, stmt: &'a Stmt) {
                if let Stmt::Assign(assign) = stmt
                    && let [Expr::Name(name)] = assign.targets.as_slice()
                {
                    self.values.insert(name.id.as_str(), &assign.value);
                }
                walk_stmt(self, stmt);
            }

            fn visit_parameter(&mut self, parameter: &'a Parameter) {
                *self.times.entry(parameter.name.as_str()).or_default() += 1;
                walk_parameter(self, parameter);
            }

            fn visit_expr(&mut self, expr: &'a Expr) {
                if let Expr::Name(name) = expr
                    && name.ctx == ExprContext::Store
                {
                    *self.times.entry(name.id.as_str()).or_default() += 1;
                }
                walk_expr(self, expr);
            }
        }
        let mut collect = Collect::default();
        collect.visit_body(body);
        let Collect { mut values, times } = collect;
        values.retain(|name, _| times.get(name) == Some(&1));
        Self(values)
    }

    /// What a name is bound to; of anything else, itself.
    pub fn resolve<'e>(&self, expr: &'e Expr) -> &'e Expr
    where
        'a: 'e,
    {
        match expr {
            Expr::Name(name) => self.0.get(name.id.as_str()).copied().unwrap_or(expr),
            _ => expr,
        }
    }
}
