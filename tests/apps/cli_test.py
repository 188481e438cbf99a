"""The program as a user meets it: commands, --json, exit status, and what it leaves behind.

    python3 tests/apps/cli_test.py build/cpu/emberq
"""
import json
import math
import os
import pathlib
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / "models" / "nano-wiki"
TEXT = ROOT / "data" / "wikitext2-excerpt.txt"
CALIBRATION = ROOT / "data" / "enwiki-excerpt.txt"
EMBERQ = "emberq"
# Sanitizers make every step slower.
PATIENCE = 600


def emberq(*arguments, **options):
    return subprocess.run([EMBERQ, *map(str, arguments)], capture_output=True, timeout=PATIENCE, **options)


def tensors_of(path):
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    return {
        name: (entry["dtype"], entry["shape"], data[8 + length :][slice(*entry["data_offsets"])])
        for name, entry in header.items()
        if name != "__metadata__"
    }


RANDOM_SHARD_BYTES = 2 * (4 * 512 * 512 + 3 * 512 * 2048 + 2 * 512)


def random_llama(folder, layers, hidden=512, intermediate=2048, heads=8):
    """A model of random BF16 weights of 2^-7 to 2^-6, a shard for each layer."""
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(MODEL / name, folder)
    config = json.loads((MODEL / "config.json").read_text()) | {
        "hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": heads, "head_dim": hidden // heads,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    signs = bytes(0x3C | (byte & 1) << 7 for byte in range(256))
    rng = random.Random(layers)
    weight_map = {}

    def write_shard(name, shapes):
        header, data = {}, bytearray()
        for tensor, shape in shapes.items():
            values = bytearray(rng.randbytes(2 * math.prod(shape)))
            values[1::2] = values[1::2].translate(signs)
            header[tensor] = {"dtype": "BF16", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
            data += values
            weight_map[tensor] = name
        text = json.dumps(header).encode()
        (folder / name).write_bytes(struct.pack("<Q", len(text)) + text + data)

    write_shard("model-0.safetensors", {"model.embed_tokens.weight": [config["vocab_size"], hidden], "model.norm.weight": [hidden]})
    for i in range(layers):
        linears = {f"self_attn.{x}_proj": [hidden, hidden] for x in "qkvo"} | {
            "mlp.gate_proj": [intermediate, hidden], "mlp.up_proj": [intermediate, hidden],
            "mlp.down_proj": [hidden, intermediate], "input_layernorm": [hidden], "post_attention_layernorm": [hidden]}
        write_shard(f"model-{i + 1}.safetensors", {f"model.layers.{i}.{x}.weight": shape for x, shape in linears.items()})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


class Program(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="emberq-cli-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def json_of(self, *arguments):
        done = emberq(*arguments, "--json")
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertEqual(done.stdout.count(b"\n"), 1, "one object on one line and nothing else")
        return json.loads(done.stdout)

    def refused(self, *arguments, status=2, **options):
        done = emberq(*arguments, **options)
        message = done.stderr.decode()
        self.assertEqual(done.returncode, status, message)
        self.assertEqual(done.stdout, b"")
        self.assertTrue(message.startswith("emberq: "), message)
        self.assertEqual(message.count("\n"), 1, message)
        return message

    def test_help_is_complete_at_every_level_and_version_is_said(self):
        commands = ["inspect", "eval", "quantize", "generate", "logits", "tokenize", "bench", "debug"]
        top = emberq("--help").stdout.decode()
        for command in commands:
            self.assertIn(command, top)
            self.assertEqual(emberq(command, "--help").returncode, 0)
        self.assertIn("--max-windows", emberq("eval", "ppl", "--help").stdout.decode())
        self.assertIn("--pattern", emberq("debug", "inject-outliers", "--help").stdout.decode())
        self.assertIn("--graph", emberq("bench", "gemm", "--help").stdout.decode())
        self.assertIn("--forms", emberq("bench", "repack", "--help").stdout.decode())
        self.assertRegex(emberq("--version").stdout.decode(), r"emberq \d+\.\d+")

    def test_bad_commands_and_options_have_status_2(self):
        for arguments in ([], ["quantise"], ["eval"], ["debug"], ["eval", "ppl", MODEL], ["inspect", MODEL, "--frob"],
                          ["generate", MODEL, "--prompt", "x", "--greedy", "--top-k", "3"],
                          ["eval", "ppl", MODEL, "--text", TEXT, "--kv", "kv2"],
                          ["eval", "ppl", MODEL, "--text", TEXT, "--device", "cuda"],
                          ["bench"], ["bench", "gemm", "--m", "0"], ["bench", "gemm", "--m", "16,x"],
                          ["bench", "gemm", "--m", "65536"], ["bench", "gemm", "--forms", "int6"],
                          ["inspect", MODEL, "--threads", "0"]):
            self.assertEqual(emberq(*arguments).returncode, 2, arguments)

    def test_inspect_names_every_tensor_and_scheme(self):
        result = self.json_of("inspect", MODEL)
        self.assertEqual(result["config"]["num_layers"], 4)
        self.assertEqual(len(result["tensors"]), 39)
        self.assertEqual(set(result["linears"].values()), {"BF16"})
        self.assertEqual(result["bits_per_weight"], 16)
        text = emberq("inspect", MODEL).stdout.decode()
        self.assertIn("model.layers.3.mlp.down_proj.weight", text)

    def test_eval_ppl_prints_the_keys_it_promises(self):
        result = self.json_of("eval", "ppl", MODEL, "--text", TEXT, "--window", "256", "--max-windows", "3")
        self.assertEqual(
            set(result), {"ppl", "nll_sum", "windows", "window_len", "predicted_tokens", "seconds"}
        )
        self.assertEqual((result["windows"], result["window_len"], result["predicted_tokens"]), (3, 256, 765))
        kv4 = self.json_of("eval", "ppl", MODEL, "--text", TEXT, "--window", "256", "--max-windows", "3", "--kv", "kv4")
        self.assertGreater(kv4["ppl"], result["ppl"])

    def test_eval_kl_is_zero_for_a_model_and_itself_and_not_for_another_cache(self):
        args = ("eval", "kl", MODEL, MODEL, "--text", TEXT, "--window", "128", "--max-windows", "2")
        same, kv4 = self.json_of(*args), self.json_of(*args, "--kv", "kv4")
        self.assertEqual(
            set(same), {"kl", "kl_p99", "kl_max", "same_top", "ppl_a", "ppl_b", "windows", "window_len",
                        "predicted_tokens", "seconds"}
        )
        self.assertEqual((same["kl"], same["kl_max"], same["same_top"], same["predicted_tokens"]), (0, 0, 1, 254))
        self.assertEqual(same["ppl_a"], kv4["ppl_a"], "--kv is the second model's")
        self.assertTrue(0 < kv4["kl"] < kv4["kl_p99"] <= kv4["kl_max"], kv4)
        self.assertGreater(kv4["ppl_b"], kv4["ppl_a"])

    def test_eval_tasks_scores_the_lines_of_its_files(self):
        (self.folder / "piqa.jsonl").write_text(
            '{"query": "Question: where?\\n", "choices": ["in the city", "zq xv"], "gold": 0}\n' * 2)
        (self.folder / "lambada_openai.jsonl").write_text('{"context": "He was born in the United", "continuation": "zq"}\n')
        result = self.json_of("eval", "tasks", MODEL, "--tasks", "piqa,lambada", "--data", self.folder)["tasks"]
        self.assertEqual(set(result["piqa"]), {"items", "acc", "acc_stderr", "acc_norm", "acc_norm_stderr", "seconds"})
        self.assertEqual((result["piqa"]["items"], result["piqa"]["acc"], result["piqa"]["acc_stderr"]), (2, 1, 0))
        self.assertEqual(set(result["lambada"]), {"items", "acc", "acc_stderr", "perplexity", "seconds"})
        self.assertIsNone(result["lambada"]["acc_stderr"], "of one item")
        self.assertIn("piqa", emberq("eval", "tasks", MODEL, "--tasks", "piqa", "--data", self.folder).stdout.decode())
        (self.folder / "piqa.jsonl").write_text("{}\n")
        message = self.refused("eval", "tasks", MODEL, "--tasks", "piqa", "--data", self.folder)
        self.assertIn("piqa.jsonl line 1: query is missing", message)

    def test_eval_needle_is_the_same_for_the_same_seed(self):
        args = ("eval", "needle", MODEL, "--text", CALIBRATION, "--length", "160", "--depth", "0,1", "--trials", "2")
        first, again = self.json_of(*args), self.json_of(*args)
        self.assertEqual(first["depths"], again["depths"])
        self.assertEqual([score["depth"] for score in first["depths"]], [0, 1])
        self.assertNotEqual(self.json_of(*args, "--seed", "1")["depths"], first["depths"])

    def test_quantize_writes_a_complete_folder_that_every_command_reads(self):
        out = self.folder / "fireq"
        report = self.json_of("quantize", MODEL, "--recipe", "fireq", "--calib", CALIBRATION,
                              "--calib-windows", "2", "--calib-length", "256", "-o", out)
        self.assertEqual(report["bits_per_weight"], 4.125)
        self.assertEqual(report["calibration_tokens"], 512)
        files = {f.name for f in out.iterdir()}
        shards = {f"model-{i:05}-of-00005.safetensors" for i in range(1, 6)}
        self.assertEqual(shards | {"model.safetensors.index.json", "config.json", "emberq.json", "tokenizer.json",
                                   "tokenizer_config.json", "generation_config.json"}, files)
        self.assertEqual(list(self.folder.iterdir()), [out])
        self.assertEqual(self.json_of("inspect", out)["kv"], "kv4-head")
        args = ("eval", "ppl", out, "--text", TEXT, "--window", "256", "--max-windows", "2")
        self.assertNotEqual(self.json_of(*args)["ppl"], self.json_of(*args, "--kv", "fp")["ppl"])
        self.assertEqual(self.json_of("generate", out, "--prompt", "The city", "--greedy", "--max-new-tokens", "4")["ids"].__len__(), 4)
        message = self.refused("quantize", out, "--recipe", "fireq", "--calib", CALIBRATION, "-o", self.folder / "x")
        self.assertIn("is quantized already", message)
        message = self.refused("quantize", MODEL, "--recipe", "fireq-w4", "-o", out)
        self.assertIn("exists already", message)

    def test_widths_that_128_does_not_divide_get_other_groups_and_are_told(self):
        model = random_llama(self.folder / "model", 1, hidden=240, intermediate=352, heads=3)
        message = self.refused("quantize", model, "--recipe", "rtn4", "-o", self.folder / "x")
        self.assertIn("model.layers.0.self_attn.q_proj has 240 inputs, which groups of 128 down to 32 do not divide", message)

        model = random_llama(self.folder / "odd", 1, hidden=192, intermediate=352, heads=2)
        line = ("groups of 64 instead of 128: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj (192 inputs); "
                "groups of 32 instead of 128: down_proj (352 inputs)")
        calibrate = ("--calib", CALIBRATION, "--calib-windows", "2", "--calib-length", "64")
        out = self.folder / "out"
        done = emberq("quantize", model, *calibrate, "-o", out)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertEqual(done.stdout.decode().splitlines()[0], line)
        linears = self.json_of("inspect", out)["linears"]
        self.assertEqual(linears["model.layers.0.self_attn.q_proj"], "lut4-g64, fp8-token inputs")
        self.assertEqual(linears["model.layers.0.self_attn.v_proj"], "fp6-g64, fp8-token inputs")
        self.assertEqual(linears["model.layers.0.mlp.down_proj"], "lut4-g32, fp8-token inputs")
        self.assertEqual(len(self.json_of("generate", out, "--prompt", "The city", "--greedy", "--max-new-tokens", "4")["ids"]), 4)

        report = self.json_of("quantize", model, "--weights", "int4", *calibrate, "-o", self.folder / "int4")
        self.assertEqual(report["notes"][0], line)
        self.assertIn("vLLM", report["notes"][1])
        recipe = self.json_of("recipe", "emberq4") | {"name": "w4a16", "activations": "none"}
        (self.folder / "w4a16.json").write_text(json.dumps(recipe))
        report = self.json_of("quantize", model, "--recipe", self.folder / "w4a16.json", "--weights", "int4", *calibrate,
                              "-o", self.folder / "w4a16")
        self.assertEqual(report["notes"], [line])

    def test_a_recipe_that_is_printed_can_be_read_again(self):
        self.assertIn("emberq4", self.json_of("recipe"))
        recipe = self.json_of("recipe", "fireq-w4")
        self.assertEqual(recipe["name"], "fireq-w4")
        path = self.folder / "mine.json"
        path.write_text(json.dumps(recipe | {"name": "mine"}))
        self.assertEqual(self.json_of("recipe", path), recipe | {"name": "mine"})
        self.assertIn("there is no recipe fireqq", self.refused("recipe", "fireqq"))

    def test_injected_outliers_give_a_complete_folder_of_the_same_perplexity(self):
        out = self.folder / "outliers"
        report = self.json_of("debug", "inject-outliers", MODEL, "-o", out, "--pattern", "2")
        self.assertEqual(set(report), {"output", "pattern", "tensor_bytes", "seconds"})
        self.assertEqual(report["pattern"], 2)
        self.assertEqual(report["tensor_bytes"], sum(len(t[2]) for t in tensors_of(out / "model.safetensors").values()))
        self.assertEqual({f.name for f in out.iterdir()}, {f.name for f in MODEL.iterdir()})
        was, is_ = (self.json_of("eval", "ppl", model, "--text", TEXT, "--window", "256", "--max-windows", "2")["ppl"]
                    for model in (MODEL, out))
        self.assertAlmostEqual(is_, was, delta=1e-4 * was)
        hurt = self.json_of("eval", "ppl", out, "--text", TEXT, "--window", "256", "--max-windows", "2", "--kv", "kv4")
        self.assertGreater(hurt["ppl"], 1.5 * was)
        again = ("debug", "inject-outliers", MODEL, "-o", out)
        self.assertIn("exists already", self.refused(*again))
        self.assertIn("nowhere", self.refused("debug", "inject-outliers", self.folder / "nowhere", "-o", self.folder / "x"))
        self.assertIn("must not be negative", self.refused(
            "debug", "inject-outliers", MODEL, "-o", self.folder / "x", "--pattern", "-1"))
        self.assertEqual(list(self.folder.iterdir()), [out])

    def test_generate_prints_the_prompt_and_what_follows(self):
        text = emberq("generate", MODEL, "--prompt", "The city of Paris", "--greedy", "--max-new-tokens", "8").stdout.decode()
        self.assertTrue(text.startswith("The city of Paris") and text.endswith("\n"), text)
        result = self.json_of("generate", MODEL, "--prompt", "The city of Paris", "--greedy", "--max-new-tokens", "8")
        self.assertEqual(result["prompt"] + result["text"] + "\n", text)
        self.assertEqual(result["prompt_ids"][0], 0, "BOS, as the tokenizer says")
        seeded = [self.json_of("generate", MODEL, "--prompt", "The", "--seed", s, "--max-new-tokens", "8")["ids"] for s in ("1", "1", "2")]
        self.assertEqual(seeded[0], seeded[1])
        self.assertNotEqual(seeded[0], seeded[2], "sampled, as generation_config.json says")

    def test_logits_need_no_tokenizer(self):
        for name in ("config.json", "model.safetensors"):
            shutil.copy(MODEL / name, self.folder)
        out = self.folder / "logits.safetensors"
        self.json_of("logits", self.folder, "--ids", "1,2,3", "-o", out)
        tensors = tensors_of(out)
        self.assertEqual(tensors["logits"][:2], ("F32", [3, 8192]))
        self.assertEqual(tensors["input_ids"], ("I32", [3], struct.pack("<3i", 1, 2, 3)))
        message = self.refused("logits", self.folder, "--ids", "1,8192", "-o", out)
        self.assertIn("token id 8192 is outside the vocabulary of 8192", message)

    def test_tokenize_goes_there_and_back(self):
        source, ids_file = self.folder / "text", self.folder / "ids"
        source.write_text("Hello  wörld 👍🏽\n<|eot_id|>x")
        ids = self.json_of("tokenize", MODEL, "--text", source, "--no-special")["ids"]
        self.assertEqual(self.json_of("tokenize", MODEL, "--text", source)["ids"], [0] + ids)
        ids_file.write_text(" ".join(map(str, ids)))
        self.assertEqual(emberq("tokenize", MODEL, "--decode", "--text", ids_file).stdout.decode(), source.read_text())
        ids_file.write_text("1, 2, x")
        self.assertIn("at byte 6", self.refused("tokenize", MODEL, "--decode", "--text", ids_file))

    def test_bad_files_get_one_sentence_and_status_2(self):
        message = self.refused("inspect", self.folder / "nowhere")
        self.assertIn(str(self.folder / "nowhere"), message)
        short = self.folder / "short.txt"
        short.write_text("too short")
        self.assertIn("less than a window of 2048", self.refused("eval", "ppl", MODEL, "--text", short))
        self.assertIn("longer than the model's 2048 positions",
                      self.refused("eval", "ppl", MODEL, "--text", TEXT, "--window", "2049"))
        latin = self.folder / "latin1.txt"
        latin.write_bytes(b"caf\xe9")
        self.assertIn("not UTF-8 at byte 3", self.refused("tokenize", MODEL, "--text", latin))
        broken = self.folder / "broken"
        shutil.copytree(MODEL, broken)
        weights = (MODEL / "model.safetensors").read_bytes()
        for content, complaint in ((weights[: len(weights) // 2], "model.safetensors"), (weights[:5], "model.safetensors"),
                                   (b"\xff" * 16, "model.safetensors")):
            (broken / "model.safetensors").write_bytes(content)
            self.assertIn(complaint, self.refused("inspect", broken))
        (broken / "model.safetensors").unlink()
        self.refused("inspect", broken)
        (broken / "config.json").write_text("{")
        self.assertIn("config.json is not valid JSON", self.refused("inspect", broken))

    def quantize_command(self, out):
        return ["quantize", MODEL, "--recipe", "fireq", "--calib", CALIBRATION, "-o", out]

    def test_a_full_disk_leaves_the_finished_layers_to_resume(self):
        out = self.folder / "out"

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

        command = ["quantize", MODEL, "--recipe", "fireq-w4", "-o", out]
        message = self.refused(*command, preexec_fn=limit)
        self.assertIn("cannot write", message)
        self.assertIn("--resume goes on", message)
        self.assertEqual([f.name for f in self.folder.iterdir()], ["out.partial"])
        self.assertIn("out.partial", self.refused(*command))
        report = self.json_of(*command, "--resume")
        self.assertEqual(report["resumed_layers"], 4)
        self.assertEqual(list(self.folder.iterdir()), [out])

    def test_a_disk_that_is_full_at_once_leaves_nothing(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

        self.assertIn("cannot write", self.refused(
            "quantize", MODEL, "--recipe", "fireq-w4", "-o", self.folder / "out", preexec_fn=limit))
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_quantize_writes_a_report_of_what_it_did(self):
        page = self.folder / "report.html"
        self.json_of("quantize", MODEL, "--recipe", "rtn4", "--calib", CALIBRATION, "--report", page,
                     "--report-against", "fireq-w4", "-o", self.folder / "out")
        text = page.read_text()
        self.assertTrue(text.startswith("<!doctype html>") or text.startswith("<!DOCTYPE html>"))
        for word in ("rtn4", "fireq-w4", "self_attn.q_proj", "sqnr_db"):
            self.assertIn(word, text)
        self.assertEqual({f.name for f in self.folder.iterdir()}, {"report.html", "out"})

    def test_four_times_the_layers_take_no_more_memory(self):
        def peak(layers):
            model = random_llama(self.folder / f"random-{layers}", layers)
            report = self.json_of("quantize", model, "--recipe", "fireq-w4", "-o", self.folder / f"quantized-{layers}")
            return report["peak_memory_bytes"]

        # Of the nine shards more; sanitizers keep some of what is freed.
        self.assertLess(peak(12) - peak(3), 2 * RANDOM_SHARD_BYTES)

    def test_bench_gemm_refuses_shapes_that_are_none_and_machines_without_a_gpu(self):
        self.assertIn("llama-4", self.refused("bench", "gemm", "--model", "llama-4"))
        self.assertIn("multiple of 128", self.refused("bench", "gemm", "--model", "4096x4000"))
        # To CUDA, a machine without a GPU.
        no_gpu = {"env": os.environ | {"CUDA_VISIBLE_DEVICES": ""}}
        self.assertIn("GPU", self.refused("bench", "gemm", **no_gpu))
        self.assertIn("GPU", self.refused("bench", "gemm", "--model", "256x128", "--m", "1", "--json", **no_gpu))

    def test_bench_repack_refuses_shapes_that_are_none_and_machines_without_a_gpu(self):
        self.assertIn("llama-4", self.refused("bench", "repack", "--model", "llama-4"))
        no_gpu = {"env": os.environ | {"CUDA_VISIBLE_DEVICES": ""}}
        self.assertIn("GPU", self.refused("bench", "repack", **no_gpu))

    def test_an_interrupt_leaves_nothing(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            running = subprocess.Popen([EMBERQ, *map(str, self.quantize_command(self.folder / "out"))],
                                       stderr=subprocess.PIPE, stdout=subprocess.PIPE)
            partial = self.folder / "out.partial"
            deadline = time.monotonic() + 60
            while not partial.exists() and running.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            running.send_signal(number)
            _, errors = running.communicate(timeout=PATIENCE)
            self.assertEqual(running.returncode, 2, errors)
            self.assertEqual(errors.decode(), "emberq: interrupted\n")
            self.assertEqual(list(self.folder.iterdir()), [])

    def test_standard_error_is_silent_where_it_is_no_terminal(self):
        done = emberq("eval", "ppl", MODEL, "--text", TEXT, "--window", "64", "--max-windows", "2")
        self.assertEqual(done.stderr, b"")


if __name__ == "__main__":
    EMBERQ = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
