"""The page of a report: as text, that it stands alone and its data cannot break out; in a browser, that
every plot shows every number.

    python3 tests/apps/report_test.py page build/cpu/emberq
    python3 tests/apps/report_test.py browser build/cpu/emberq    (status 77 where there is no chromium)
"""
import collections
import html.parser
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from report_data import HEAD_DIM, METHODS, MODULES, SITES, report

EMBERQ = "emberq"
PATIENCE = 120
SKIPPED = 77
HEAT_MAPS = ["bits", "sqnr", "output-sqnr", "kl", "input-absmax"]
HOSTILE = "</script><b>bold</b><!--<script>"


class Page(html.parser.HTMLParser):
    """Elements as (tag, attributes), the text of each script by its type, the text of each style."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.scripts, self.styles, self._inside = [], collections.defaultdict(str), "", None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self._inside = (tag, dict(attributes).get("type", ""))
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        tag, kind = self._inside or ("", "")
        if tag == "script":
            self.scripts[kind] += data
        elif tag == "style":
            self.styles += data

    def data(self):
        return json.loads(self.scripts["application/json"])


class Report(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="emberq-report-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def run_on(self, text):
        source, page = self.folder / "data.json", self.folder / "report.html"
        source.write_text(text)
        done = subprocess.run([EMBERQ, "debug", "report", source, "-o", page], capture_output=True, timeout=PATIENCE)
        return page, done

    def page_of(self, data):
        page, done = self.run_on(json.dumps(data))
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))
        return page


class AsText(Report):
    def test_loads_nothing_from_elsewhere(self):
        page = Page(self.page_of(report(2, 1)).read_text())
        self.assertEqual([e for e in page.elements if e[0] in ("link", "img", "iframe", "base", "object")], [])
        self.assertEqual([a for _, a in page.elements if "src" in a or "href" in a], [])
        policy = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
        self.assertTrue(policy and policy[0].startswith("default-src 'none'"), policy)
        self.assertNotRegex(page.styles, r"@import|url\(")
        for loader in ("fetch(", "XMLHttpRequest", "import(", "innerHTML", "document.write"):
            self.assertNotIn(loader, page.scripts[""])

    def test_holds_the_data_that_it_was_given(self):
        data = report(3, 2)
        held = Page(self.page_of(data).read_text()).data()
        self.assertEqual(list(held), list(data))
        self.assertEqual(held["methods"], data["methods"])
        self.assertEqual(held["keys"][5]["original"], [float(f"{x:.6g}") for x in data["keys"][5]["original"]])

    def test_a_string_cannot_end_the_script(self):
        page = Page(self.page_of({"title": HOSTILE, "notes": [HOSTILE], "recipe": "{{DATA}}"}).read_text())
        self.assertEqual(page.data(), {"title": HOSTILE, "notes": [HOSTILE], "recipe": "{{DATA}}"})
        self.assertEqual([tag for tag, _ in page.elements if tag in ("script", "b")], ["script", "script"])

    def test_what_is_no_report_gets_one_sentence_and_status_2(self):
        for text, complaint in (("[]", "must be an object, got array"), ("{", "is not valid JSON"),
                                ('{"linear": []}', "linear is not a known key"),
                                ('{"linears": [1]}', "linears must be a list of objects"),
                                ('{"notes": "x"}', "notes must be a list of strings"),
                                ('{"title": 1}', "title must be a string"), ('{"summary": []}', "summary must be an object")):
            page, done = self.run_on(text)
            self.assertEqual(done.returncode, 2, text)
            self.assertIn(complaint, done.stderr.decode())
            self.assertEqual(done.stderr.count(b"\n"), 1)
            self.assertFalse(page.exists())

    def test_a_null_section_is_an_absent_one(self):
        self.assertEqual(Page(self.page_of({"keys": None, "title": None}).read_text()).data(), {"keys": None, "title": None})


class Drawn(html.parser.HTMLParser):
    """Of a page that was drawn: the ids of its sections, and each plot with the classes of its marks."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.plots, self.sections, self.failures, self.drawn, self.paths = [], [], 0, False, []
        self._inside_plot = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        classes = attributes.get("class", "").split()
        if "data-plot" in attributes:
            self.plots.append((attributes, collections.Counter()))
            self._inside_plot = True
        elif self._inside_plot:
            self.plots[-1][1].update(classes)
        if tag == "path" and self._inside_plot:
            self.paths.append((self.plots[-1][0]["data-plot"], classes, attributes.get("d", "")))
        self.sections += [attributes["id"]] if tag == "section" else []
        self.drawn |= "data-drawn" in attributes
        self.failures += "failed" in classes

    def handle_endtag(self, tag):
        self._inside_plot &= tag != "svg"

    def marks(self, name, mark):
        return [counts[mark] for attributes, counts in self.plots if attributes["data-plot"] == name]


class InABrowser(Report):
    def drawn(self, data, width=1400):
        page = self.page_of(data)
        done = subprocess.run(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             f"--user-data-dir={self.folder}/profile", f"--window-size={width},900", "--enable-logging=stderr",
             "--virtual-time-budget=5000", "--dump-dom", page.as_uri()], capture_output=True, timeout=PATIENCE)
        log = done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, 0, log)
        self.assertEqual(re.findall(r".*CONSOLE.*", log), [])
        result = Drawn(done.stdout.decode())
        self.assertTrue(result.drawn, "the script came to its end")
        self.assertEqual(result.failures, 0)
        for attributes, _ in result.plots:
            self.assertTrue(attributes["aria-label"] and attributes["tabindex"] == "0", attributes)
        text = done.stdout.decode()
        text = text[: text.index('id="data"')]
        self.assertNotRegex(text, r"NaN|undefined|Infinity", "no number was made of nothing")
        return result

    def check_marks(self, layers, kv_heads, width):
        drawn = self.drawn(report(layers, kv_heads), width)
        self.assertEqual(drawn.sections, ["methods", "linears", "sensitive", "layer_errors", "activations", "keys", "choices", "notes"])
        self.assertEqual(drawn.marks("methods", "bar"), [len(METHODS)])
        for name in HEAT_MAPS:
            self.assertEqual(drawn.marks(name, "cell"), [layers * len(MODULES)], name)
        self.assertEqual(drawn.marks("sensitive", "bar"), [min(20, layers * len(MODULES))])
        # In layer 0 nothing came from the layers before.
        self.assertEqual(drawn.marks("layer-errors", "area"), [4 * layers - 1])
        for statistic in ("absmax", "p999", "rms"):
            self.assertEqual(drawn.marks(f"activations-{statistic}", "point"), [layers * len(SITES)])
        self.assertEqual(drawn.marks("key-ratios", "point"), [2 * layers] if layers > 1 else [])
        self.assertEqual(len(drawn.marks("keys", "outline")), kv_heads, "the heads of one layer")
        for name, classes, path in drawn.paths:
            if name == "keys":
                self.assertEqual(path.count("H"), HEAD_DIM, classes)

    def test_every_number_of_a_small_model_has_a_mark(self):
        self.check_marks(6, 2, 1400)

    def test_every_number_of_a_large_model_has_a_mark_on_a_phone(self):
        self.check_marks(80, 8, 500)

    def test_one_layer_is_enough(self):
        self.check_marks(1, 1, 800)

    def test_an_empty_report_has_no_sections(self):
        for data in ({}, {"linears": [], "keys": None, "summary": {}, "notes": []}):
            drawn = self.drawn(data)
            self.assertEqual((drawn.sections, drawn.plots), ([], []))

    def test_a_string_stays_text(self):
        drawn = self.drawn({"title": HOSTILE, "notes": [HOSTILE], "methods": [{"name": HOSTILE, "ppl": 1.0}]})
        self.assertEqual(drawn.sections, ["methods", "notes"])

    def test_what_is_not_measured_is_left_out(self):
        data = report(4, 2)
        for row in data["linears"]:
            row.update(kl=None, output_sqnr_db=None)
        data["linears"][3]["sqnr_db"] = None
        for row in data["activations"]:
            del row["p999"]
        data["activations"][0]["absmax"] = None
        data["layer_errors"] = [{"layer": 0, "hidden_error": 0.1}, {"layer": 1, "hidden_error": None}]
        for row in data["keys"]:
            row["smoothed"] = []
        drawn = self.drawn(data)
        names = [attributes["data-plot"] for attributes, _ in drawn.plots]
        self.assertEqual(names, ["methods", "bits", "sqnr", "input-absmax", "layer-errors", "activations-absmax",
                                 "activations-rms", "key-ratios", "keys", "keys"])
        self.assertEqual(drawn.marks("sqnr", "cell"), [4 * len(MODULES) - 1])
        self.assertEqual(drawn.marks("sqnr", "missing"), [1])
        self.assertEqual(drawn.marks("activations-absmax", "point"), [4 * len(SITES) - 1])
        self.assertEqual(drawn.marks("layer-errors", "area"), [1])
        self.assertEqual(drawn.marks("key-ratios", "point"), [4])

    def test_rows_without_anything_are_no_fault(self):
        data = {name: [{}] for name in ("methods", "linears", "keys", "activations", "layer_errors", "choices")}
        self.assertEqual(self.drawn(data).sections, [])

    def test_zeros_and_equal_numbers_have_a_scale(self):
        data = report(2, 1)
        for row in data["linears"]:
            row.update(kl=0, sqnr_db=20.0, bits=4.125, input_absmax=0.0)
        for row in data["activations"]:
            row.update(absmax=0, p999=3.0, rms=3.0)
        for row in data["layer_errors"]:
            row["hidden_error"] = 0
        for row in data["keys"]:
            row.update(original=[0.0] * HEAD_DIM, smoothed=[1.0] * HEAD_DIM)
        data["methods"] = [dict(row, ppl_increase=0.0) for row in METHODS[1:]] + [dict(METHODS[0], ppl_increase=-0.5)]
        drawn = self.drawn(data)
        self.assertEqual(drawn.marks("kl", "cell"), [2 * len(MODULES)])
        self.assertEqual(drawn.marks("activations-absmax", "point"), [0])


if __name__ == "__main__":
    part, EMBERQ = sys.argv.pop(1), os.path.abspath(sys.argv.pop(1))
    if part == "browser" and not shutil.which("chromium"):
        print("skipped: chromium is not installed")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2, defaultTest={"page": "AsText", "browser": "InABrowser"}[part])
