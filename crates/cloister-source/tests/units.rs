//! What becomes a unit, and what it shows.

mod common;

use cloister_source::{ContextRole, UnitKind};
use common::{analyse, context, kinds, lines, names, roles, unit};

const APPLICATION: &str = r#"#!/usr/bin/env python
"""Documentation."""
import os, sys
from flask import Flask, request as req, jsonify

app = Flask(__name__)
SECRET = "hunter2"  # a remark
__all__ = ["index"]

@app.route("/x")
def index():
    """Documentation."""
    q = req.args.get("q")  # this is safe
    os.system("ls %s" % q)
    def inner():
        "only documentation"
    return q

class Store(Base):
    """Documentation."""
    timeout = 30
    name = "x"

    def read(self, path):
        return open(path, timeout=self.timeout)

    class Meta:
        def deep(self): return 1

if __name__ == "__main__":
    app.run(debug=True)
"#;

#[test]
fn functions_methods_class_bodies_and_the_module_are_units() {
    let parsed = analyse(APPLICATION);
    assert_eq!(names(&parsed), ["<module>", "index", "Store", "Store.read", "Store.Meta.deep"]);
    let kinds: Vec<_> = parsed.units.iter().map(|unit| unit.kind).collect();
    use UnitKind::{Function, Method, Module};
    assert_eq!(kinds, [Module, Function, Module, Method, Method]);
    assert!(parsed.notices.is_empty());
}

#[test]
fn a_unit_shows_code_with_the_line_numbers_of_the_file() {
    let parsed = analyse(APPLICATION);
    let index = unit(&parsed, "index");
    let expected = [
        "10 @app.route(\"/x\")",
        "11 def index():",
        "13     q = req.args.get(\"q\")",
        "14     os.system(\"ls %s\" % q)",
        "15     def inner():",
        "16         pass",
        "17     return q",
    ];
    assert_eq!(lines(index), expected);
    assert_eq!(index.header, 2);
    assert_eq!((index.range.start.line, index.range.start.column), (10, 1));
    assert_eq!((index.range.end.line, index.range.end.column), (17, 13));
    assert_eq!(&APPLICATION[index.bytes.clone()].lines().next().unwrap(), &"@app.route(\"/x\")");
}

#[test]
fn a_unit_has_the_context_that_its_names_need() {
    let parsed = analyse(APPLICATION);
    let index = unit(&parsed, "index");
    // Flask only because `app` is made of it.
    assert_eq!(context(index), ["3 import os", "4 from flask import Flask, request as req", "6 app = Flask(__name__)"]);
    assert_eq!(roles(index), [ContextRole::Import, ContextRole::Import, ContextRole::Global]);

    let read = unit(&parsed, "Store.read");
    assert_eq!(context(read), ["19 class Store(Base):", "21     timeout = 30"]);
    assert_eq!(lines(read), ["24 def read(self, path):", "25     return open(path, timeout=self.timeout)"]);
}

#[test]
fn a_parameter_is_not_the_global_of_that_name() {
    let parsed = analyse("from flask import request\npath = '/'\ndef f(request, path):\n    return request, path\n");
    assert!(unit(&parsed, "f").context.is_empty());
}

#[test]
fn class_bodies_show_their_statements_but_not_their_methods() {
    let parsed = analyse(APPLICATION);
    let expected = [
        "19 class Store(Base):",
        "21     timeout = 30",
        "22     name = \"x\"",
        "27     class Meta:",
        "28         pass",
    ];
    assert_eq!(lines(unit(&parsed, "Store")), expected);
}

#[test]
fn the_module_shows_what_is_left_and_imports_only_as_context() {
    let parsed = analyse(APPLICATION);
    let module = unit(&parsed, "<module>");
    let expected = [
        "6 app = Flask(__name__)",
        "7 SECRET = \"hunter2\"",
        "30 if __name__ == \"__main__\":",
        "31     app.run(debug=True)",
    ];
    assert_eq!(lines(module), expected);
    assert_eq!(context(module), ["4 from flask import Flask"]);
    assert_eq!((module.range.start.line, module.range.end.line), (6, 31));
}

#[test]
fn a_module_of_imports_and_definitions_is_no_unit() {
    let text = "import a\ntry:\n    import b\nexcept ImportError:\n    b = None\nif a.DEBUG:\n    import c\ndef f():\n    b()\n";
    // The assignment in the handler is code; without it nothing is left.
    assert_eq!(names(&analyse(text)), ["<module>", "f"]);
    assert_eq!(names(&analyse(&text.replace("b = None", "pass"))), ["f"]);
    let secret = "API_KEY = 'sk-live-1'\n";
    assert_eq!(names(&analyse(secret)), ["<module>"]);
}

#[test]
fn what_calls_something_is_never_left_out() {
    for text in [
        "__all__ = eval(x)\n",
        "x: eval('1')\n",
        "if eval(x):\n    import y\n",
        "class A(eval('B')):\n    pass\n",
        "with open(x) as f:\n    pass\n",
    ] {
        assert_eq!(analyse(text).units.len(), 1, "{text}");
    }
}

#[test]
fn functions_in_blocks_are_units_and_leave_a_pass_behind() {
    let parsed = analyse("if check():\n    def f(): return 1\nelse:\n    def f(): return 2\nfor x in f(): g(x)\n");
    assert_eq!(names(&parsed), ["<module>", "f", "f (2)"]);
    let expected = ["1 if check():", "2     pass", "3 else:", "4     pass", "5 for x in f(): g(x)"];
    assert_eq!(lines(unit(&parsed, "<module>")), expected);
}

#[test]
fn comments_and_strings_that_stand_alone_are_left_out_everywhere() {
    let text = "def f():\n    '''this is\n    safe'''\n    x = 1; 'safe'\n    'safe'; y = 2\n    (\"safe\")\n    f'safe'\n    b'safe'\n\
                \n    if x:  # safe\n        'safe'\n    while y: 'safe'\n    return (x,  # safe\n            y)\n";
    let expected = [
        "1 def f():",
        "4     x = 1",
        "5     y = 2",
        "10     if x:",
        "11         pass",
        "12     while y: pass",
        "13     return (x,",
        "14         y)",
    ];
    assert_eq!(lines(unit(&analyse(text), "f")), expected);
    // What an f-string evaluates is code.
    let evaluated = analyse("def f():\n    f'{run(1)}'\n");
    assert_eq!(lines(unit(&evaluated, "f")), ["1 def f():", "2     f'{run(1)}'"]);
}

#[test]
fn strings_that_are_used_stay() {
    let parsed = analyse("def f(c):\n    c.execute('''select # no comment\n  from t''')\n    return '# ' + \"safe\"\n");
    let expected =
        ["1 def f(c):", "2     c.execute('''select # no comment", "3   from t''')", "4     return '# ' + \"safe\""];
    assert_eq!(lines(unit(&parsed, "f")), expected);
}

#[test]
fn code_cut_from_the_inside_of_a_class_is_no_error() {
    let parsed = analyse("    def a(self):\n        return 1\n\n    def b(self):\n        return 2\n");
    assert!(kinds(&parsed).is_empty(), "{:?}", parsed.notices);
    assert_eq!(names(&parsed), ["a", "b"]);
    assert_eq!(lines(unit(&parsed, "b")), ["4 def b(self):", "5     return 2"]);
}

#[test]
fn tabs_become_four_spaces_and_the_common_indentation_goes() {
    let parsed = analyse("class A:\n\tdef f(self):\n\t\tif self:\n\t\t\treturn '\t'\n");
    assert_eq!(lines(unit(&parsed, "A.f")), ["2 def f(self):", "3     if self:", "4         return '    '"]);
}

#[test]
fn all_line_ends_give_the_same_units() {
    let text = "import os\ndef f(x):\n    '''a\n    b'''\n    # c\n    return os.popen(x)\n";
    let unix = analyse(text);
    for other in [text.replace('\n', "\r\n"), text.replace('\n', "\r")] {
        let parsed = analyse(&other);
        assert_eq!(lines(&parsed.units[0]), lines(&unix.units[0]));
        assert_eq!(context(&parsed.units[0]), context(&unix.units[0]));
        assert!(parsed.notices.is_empty());
    }
}

#[test]
fn long_lines_lose_the_middle_of_their_literals_first() {
    let parsed = analyse(&format!("def f():\n    run('{}', key)\n    g({})\n", "A".repeat(9_000), "1, ".repeat(500)));
    let shown = &unit(&parsed, "f").lines;
    assert!(shown[1].text.starts_with("    run('AAAA") && shown[1].text.ends_with("AAAA', key)"), "{}", shown[1].text);
    assert!(shown.iter().all(|line| line.text.chars().count() <= 400));
    assert!(shown[2].text.ends_with("1, )"));
}

#[test]
fn async_functions_decorators_and_one_line_bodies_have_their_headers() {
    let parsed = analyse("@a(\n    1)\n@b\nasync def f(\n    x,\n    y):\n    await x\ndef g(): return 1\n");
    assert_eq!(unit(&parsed, "f").header, 6);
    assert_eq!(unit(&parsed, "g").header, 1);
}

#[test]
fn imports_are_reduced_to_the_names_in_use() {
    let text = "from a.b import (\n    one,  # first\n    two as second,\n    three,\n)\nimport x.y, z\nfrom . import near\nfrom w import *\n\
                def f():\n    second(x.y.q, near)\n";
    let expected = ["1 from a.b import two as second", "6 import x.y", "7 from . import near", "8 from w import *"];
    assert_eq!(context(unit(&analyse(text), "f")), expected);
}

#[test]
fn long_globals_are_shown_by_their_first_lines() {
    let table: String = (0..50).map(|key| format!("    {key}: {key},\n")).collect();
    let parsed = analyse(&format!("TABLE = {{\n{table}}}\ndef f():\n    return TABLE\n"));
    assert_eq!(context(unit(&parsed, "f")), ["1 TABLE = {", "2     0: 0,", "3     1: 1,", "4     2: 2,"]);
}

#[test]
fn the_layout_of_a_text_does_not_show() {
    let plain = "class A:\n    def f(self, x):\n        if x:\n            y = g(x,\n                  {1: 2})\n            z = '''a\n  b'''\n        return y + \\\n            z\n";
    let shown = |text: &str| {
        let parsed = analyse(text);
        unit(&parsed, "A.f").lines.iter().map(|line| line.text.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        shown(plain),
        [
            "def f(self, x):",
            "    if x:",
            "        y = g(x,",
            "            {1: 2})",
            "        z = '''a",
            "b'''",
            "    return y + \\",
            "        z"
        ]
    );
    let tabs = "class A:\n\tdef f(self, x):\n\n\t\tif x:\n\t\t\t\ty = g(x,\n\t\t\t{1: 2})\n\t\t\t\tz = '''a\n  b'''\n\t\t# done\n\t\treturn y + \\\n\tz\n";
    assert_eq!(shown(tabs), shown(plain));
    let two = "class A:\n  def f(self, x):\n    if x:\n      y = g(x,\n{1: 2})\n      z = '''a\n  b'''\n    return y + \\\n z\n";
    assert_eq!(shown(two), shown(plain));
}
