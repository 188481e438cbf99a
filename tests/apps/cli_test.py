"""The program as a user meets it: commands, --json, exit status, and what it leaves behind.

    python3 tests/apps/cli_test.py build/cpu/emberq
"""
import fcntl
import json
import math
import os
import pathlib
import random
import re
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
        commands = ["inspect", "explain", "eval", "quantize", "generate", "logits", "tokenize", "bench", "debug"]
        top = emberq("--help").stdout.decode()
        for command in commands:
            self.assertIn(command, top)
            self.assertEqual(emberq(command, "--help").returncode, 0)
        self.assertIn("--num-samples", emberq("eval", "ppl", "--help").stdout.decode())
        self.assertIn("--pattern", emberq("debug", "inject-outliers", "--help").stdout.decode())
        self.assertIn("--graph", emberq("bench", "gemm", "--help").stdout.decode())
        self.assertIn("--schemes", emberq("bench", "repack", "--help").stdout.decode())
        self.assertRegex(emberq("--version").stdout.decode(), r"emberq \d+\.\d+")

    def environment_of_a_run(self, **variables):
        """What the process sees, while it waits for a reader of more than a pipe holds."""
        kept = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
        with subprocess.Popen([EMBERQ, "tokenize", MODEL, "--text", CALIBRATION], env=kept | variables,
                              stdout=subprocess.PIPE) as process:
            self.assertTrue(process.stdout.read(1))
            text = pathlib.Path(f"/proc/{process.pid}/environ").read_text()
            process.kill()
        return dict(line.split("=", 1) for line in text.split("\0") if "=" in line)

    def test_waiting_threads_sleep_soon_where_the_user_sets_nothing(self):
        self.assertEqual(self.environment_of_a_run()["GOMP_SPINCOUNT"], "10000")
        self.assertEqual(self.environment_of_a_run(GOMP_SPINCOUNT="7")["GOMP_SPINCOUNT"], "7")
        self.assertNotIn("GOMP_SPINCOUNT", self.environment_of_a_run(OMP_WAIT_POLICY="active"))

    def test_starts_as_an_argument_of_the_loader(self):
        elf = subprocess.run(["readelf", "-l", EMBERQ], capture_output=True, text=True)
        loader = re.search(r"interpreter: (\S+)\]", elf.stdout)
        if not loader:
            self.skipTest("no loader is known")
        done = subprocess.run([loader[1], EMBERQ, "--version"], capture_output=True, text=True)
        self.assertTrue(done.stdout.startswith("emberq "), done.stderr)

    def completed(self, *words):
        """What bash offers for the last word."""
        script = emberq("completion", "bash").stdout.decode()
        quoted = " ".join(f"'{word}'" for word in ("emberq", *words))
        script += f"COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _emberq; echo \"${{COMPREPLY[@]}}\"\n"
        done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
        return done.stdout.split()

    def test_bash_completes_commands_options_and_values(self):
        self.assertEqual(self.completed("qua"), ["quantize"])
        self.assertEqual(self.completed("eval", "n"), ["needle"])
        self.assertEqual(self.completed("eval", "ppl", "--num"), ["--num-samples"])
        self.assertEqual(self.completed("generate", "model", "--kv", "int8"), ["int8-head"])
        self.assertEqual(self.completed("inspect", "model", "--th"), ["--threads"])
        self.assertEqual(self.completed("eval", "ppl", "--text", ""), [])  # files
        self.assertEqual(self.completed("inspect", ""), [])

    def test_version_names_the_commit_of_a_checkout(self):
        version = emberq("--version").stdout.decode()
        checkout = subprocess.run(["git", "-C", ROOT, "describe", "--always"], capture_output=True, check=False)
        if (ROOT / ".git").exists() and checkout.returncode == 0:
            self.assertRegex(version, r"^emberq \d+\.\d+\.\d+ \(\S+\)\n$")

    def test_bad_commands_and_options_have_status_2(self):
        for arguments in ([], ["quantise"], ["eval"], ["debug"], ["eval", "ppl", MODEL], ["inspect", MODEL, "--frob"],
                          ["generate", MODEL, "--prompt", "x", "--greedy", "--top-k", "3"],
                          ["eval", "ppl", MODEL, "--text", TEXT, "--kv", "kv2"],
                          ["eval", "ppl", MODEL, "--text", TEXT, "--device", "cuda"],
                          ["bench"], ["bench", "ops", "--m", "0"], ["bench", "ops", "--device", "tpu"],
                          ["bench", "gemm", "--m", "0"], ["bench", "gemm", "--m", "16,x"],
                          ["bench", "gemm", "--m", "65536"], ["bench", "gemm", "--schemes", "int6"],
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

    def test_explain_names_a_kernel_for_every_operation_and_runs_nothing(self):
        result = self.json_of("explain", MODEL, "--batch", "2", "--context", "64")
        self.assertEqual(result["backend"], "cpu")
        self.assertEqual([(step["sequences"], step["new_tokens"], step["context"]) for step in result["steps"]],
                         [(2, 64, 64), (2, 1, 64)])
        for step in result["steps"]:
            calls = {operation["operation"]: operation["calls"] for operation in step["operations"]}
            self.assertEqual((calls["linear down"], calls["attention"], calls["linear head"]), (4, 4, 1))
            for operation in step["operations"]:
                self.assertTrue(operation["kernel"], operation)
                self.assertIsNone(operation["share_of_roof"], "of a CPU")
        self.assertIn("| 0-3    | linear down ", emberq("explain", MODEL).stdout.decode())
        self.assertIn("a context of 2049 tokens", self.refused("explain", MODEL, "--context", "2049"))
        plain, explained = (emberq("generate", MODEL, "--prompt", "The city", "--greedy", "--max-new-tokens", "4", *flag)
                            for flag in ([], ["--explain"]))
        self.assertEqual(plain.stdout, explained.stdout)
        self.assertEqual(plain.stderr, b"")
        self.assertIn("linear down", explained.stderr.decode())

    def test_eval_ppl_prints_the_keys_it_promises(self):
        result = self.json_of("eval", "ppl", MODEL, "--text", TEXT, "--seq-len", "256", "--num-samples", "3")
        self.assertEqual(
            set(result), {"ppl", "nll_sum", "windows", "seq_len", "predicted_tokens", "seconds"}
        )
        self.assertEqual((result["windows"], result["seq_len"], result["predicted_tokens"]), (3, 256, 765))
        kv4 = self.json_of("eval", "ppl", MODEL, "--text", TEXT, "--seq-len", "256", "--num-samples", "3", "--kv", "int4-head")
        self.assertGreater(kv4["ppl"], result["ppl"])

    def test_eval_kl_is_zero_for_a_model_and_itself_and_not_for_another_cache(self):
        args = ("eval", "kl", MODEL, MODEL, "--text", TEXT, "--seq-len", "128", "--num-samples", "2")
        same, kv4 = self.json_of(*args), self.json_of(*args, "--kv", "int4-head")
        self.assertEqual(
            set(same), {"kl", "kl_p99", "kl_max", "top1_agreement", "reference_ppl", "ppl", "windows", "seq_len",
                        "predicted_tokens", "seconds"}
        )
        self.assertEqual((same["kl"], same["kl_max"], same["top1_agreement"], same["predicted_tokens"]), (0, 0, 1, 254))
        self.assertEqual(same["reference_ppl"], kv4["reference_ppl"], "--kv is the second model's")
        self.assertTrue(0 < kv4["kl"] < kv4["kl_p99"] <= kv4["kl_max"], kv4)
        self.assertGreater(kv4["ppl"], kv4["reference_ppl"])

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
        args = ("eval", "needle", MODEL, "--text", CALIBRATION, "--seq-len", "160", "--depth", "0,1", "--trials", "2")
        first, again = self.json_of(*args), self.json_of(*args)
        self.assertEqual(first["depths"], again["depths"])
        self.assertEqual([score["depth"] for score in first["depths"]], [0, 1])
        self.assertNotEqual(self.json_of(*args, "--seed", "1")["depths"], first["depths"])

    def test_quantize_writes_a_complete_folder_that_every_command_reads(self):
        out = self.folder / "fireq"
        report = self.json_of("quantize", MODEL, "--recipe", "fireq", "--calib", CALIBRATION,
                              "--num-samples", "2", "--seq-len", "256", "-o", out)
        self.assertEqual(report["bits_per_weight"], 4.125)
        self.assertEqual(report["calibration_tokens"], 512)
        files = {f.name for f in out.iterdir()}
        shards = {f"model-{i:05}-of-00005.safetensors" for i in range(1, 6)}
        self.assertEqual(shards | {"model.safetensors.index.json", "config.json", "emberq.json", "tokenizer.json",
                                   "tokenizer_config.json", "generation_config.json"}, files)
        self.assertEqual(list(self.folder.iterdir()), [out])
        self.assertEqual(self.json_of("inspect", out)["kv"], "int4-head")
        args = ("eval", "ppl", out, "--text", TEXT, "--seq-len", "256", "--num-samples", "2")
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
        calibrate = ("--calib", CALIBRATION, "--num-samples", "2", "--seq-len", "64")
        out = self.folder / "out"
        done = emberq("quantize", model, *calibrate, "-o", out)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertEqual(done.stdout.decode().splitlines()[0], line)
        linears = self.json_of("inspect", out)["linears"]
        self.assertEqual(linears["model.layers.0.self_attn.q_proj"], "lut4-g64, fp8-token inputs")
        self.assertEqual(linears["model.layers.0.self_attn.v_proj"], "fp6e2m3-g64, fp8-token inputs")
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

    def test_a_head_in_fp8_is_smaller_and_every_command_reads_it(self):
        plain, out = self.folder / "plain", self.folder / "head"
        self.json_of("quantize", MODEL, "--recipe", "rtn4", "-o", plain)
        report = self.json_of("quantize", MODEL, "--recipe", "rtn4", "--lm-head", "fp8e4m3-channel", "-o", out)
        self.assertEqual(report["recipe"], "rtn4-lm-head-fp8e4m3-channel")
        self.assertEqual(report["bits_per_weight"], 4.125, "of the blocks")
        was, is_ = self.json_of("inspect", plain), self.json_of("inspect", out)
        self.assertEqual(is_["lm_head"], "fp8e4m3-channel")
        self.assertEqual(was["lm_head"], "BF16")
        vocab, hidden = is_["config"]["vocab_size"], is_["config"]["hidden_size"]
        sizes = {tensor["name"]: tensor["bytes"] for tensor in is_["tensors"]}
        self.assertEqual(sizes["lm_head.weight"] + sizes["lm_head.weight_scale"], vocab * (hidden + 2))
        self.assertAlmostEqual(was["file_bytes"] - is_["file_bytes"], vocab * (hidden - 2), delta=1000)
        self.assertRegex(emberq("inspect", out).stdout.decode(), rf"lm_head +\| +{vocab} x {hidden} \| - +\| fp8e4m3-channel")
        kl = self.json_of("eval", "kl", plain, out, "--text", TEXT, "--seq-len", "128", "--num-samples", "2")
        self.assertTrue(0 < kl["kl"] < 0.01, kl)
        self.assertEqual(len(self.json_of("generate", out, "--prompt", "The city", "--greedy", "--max-new-tokens", "4")["ids"]), 4)
        message = self.refused("quantize", MODEL, "--recipe", "rtn4", "--lm-head", "int4-g128", "-o", self.folder / "x")
        self.assertIn("fp8e4m3-channel", message)

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
        was, is_ = (self.json_of("eval", "ppl", model, "--text", TEXT, "--seq-len", "256", "--num-samples", "2")["ppl"]
                    for model in (MODEL, out))
        self.assertAlmostEqual(is_, was, delta=1e-4 * was)
        hurt = self.json_of("eval", "ppl", out, "--text", TEXT, "--seq-len", "256", "--num-samples", "2", "--kv", "int4-head")
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

    def test_generate_keeps_to_generation_config_and_names_what_it_does_not_run(self):
        for file in MODEL.iterdir():
            shutil.copy(file, self.folder)
        path = self.folder / "generation_config.json"

        def generate(config, *options):
            path.write_text(json.dumps(config))
            done = emberq("generate", self.folder, "--prompt", "The city", "--max-new-tokens", "8", "--json", *options)
            self.assertEqual(done.returncode, 0, done.stderr.decode())
            return json.loads(done.stdout)["ids"], done.stderr.decode()

        plain, quiet = generate({})
        self.assertEqual(quiet, "")
        penalized, quiet = generate({"repetition_penalty": 3.0, "no_repeat_ngram_size": 1})
        self.assertEqual(len(set(penalized)), len(penalized))
        self.assertEqual(quiet, "")
        self.assertNotIn(plain[0], generate({"suppress_tokens": [plain[0]]})[0])
        self.assertEqual(generate({}, "--repetition-penalty", "3")[0], generate({"repetition_penalty": 3.0})[0])
        self.assertEqual(generate({}, "--min-p", "1")[0], plain, "the most likely token alone is left")
        ids, said = generate({"num_beams": 4, "typical_p": 0.5, "forced_eos_token_id": 1, "top_p": 0})
        self.assertEqual(ids, plain)
        self.assertEqual(said.count("\n"), 1, said)
        self.assertIn(f"warning: {path} asks for num_beams, forced_eos_token_id, which emberq does not run", said)
        path.write_text('{"do_sample": true, "top_p": 0}')
        self.assertIn(f"{path}: top_p must be in (0, 1], got 0", self.refused("generate", self.folder, "--prompt", "x"))
        path.write_text('{"max_new_tokens": 3}')
        self.assertEqual(len(self.json_of("generate", self.folder, "--prompt", "x")["ids"]), 3)
        for option in (["--repetition-penalty", "0"], ["--min-p", "2"], ["--top-p", "0"], ["--temperature", "-1"]):
            self.refused("generate", self.folder, "--prompt", "x", *option)

    def test_a_git_lfs_pointer_is_called_by_its_name(self):
        for file in MODEL.iterdir():
            shutil.copy(file, self.folder)
        for name in ("tokenizer.json", "generation_config.json", "model.safetensors", "config.json"):
            (self.folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n")
            message = self.refused("generate", self.folder, "--prompt", "x")
            self.assertIn(f"{self.folder / name} is a Git LFS pointer", message)
            shutil.copy(MODEL / name, self.folder)

    def test_logits_need_no_tokenizer(self):
        for name in ("config.json", "model.safetensors"):
            shutil.copy(MODEL / name, self.folder)
        out = self.folder / "logits.safetensors"
        self.json_of("logits", self.folder, "--ids", "1,2,3", "-o", out)
        tensors = tensors_of(out)
        self.assertEqual(tensors["logits"][:2], ("F32", [3, 8192]))
        self.assertEqual(tensors["input_ids"], ("I32", [3], struct.pack("<3i", 1, 2, 3)))
        for ids, said in (("1,8192", "position 1 of the model's input has the id 8192"),
                          ("-1,1", "position 0 of the model's input has the id -1")):
            message = self.refused("logits", self.folder, f"--ids={ids}", "-o", out)
            self.assertIn(said, message)
            self.assertIn("vocab_size 8192", message)

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
                      self.refused("eval", "ppl", MODEL, "--text", TEXT, "--seq-len", "2049"))
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

    def test_bench_ops_says_what_ran_and_where(self):
        # The operations of one token take a second; sanitizers are not to be timed.
        if os.environ.get("EMBERQ_SANITIZE"):
            self.skipTest("with sanitizers")
        report = json.loads(emberq("bench", "ops", "--m", "1", "--json").stdout)
        self.assertEqual(list(report)[:5], ["version", "commit", "device", "date", "command"])
        self.assertEqual(report["command"], "emberq bench ops --m 1 --json")
        self.assertRegex(report["version"], r"^\d+\.\d+\.\d+$")
        self.assertEqual({row["operation"] for row in report["rows"]},
                         {"rms_norm", "per_token_quantize", "silu_and_mul"})
        no_gpu = {"env": os.environ | {"CUDA_VISIBLE_DEVICES": ""}}
        self.assertIn("GPU", self.refused("bench", "ops", "--device", "cuda", **no_gpu))

    def test_bench_load_times_a_random_model_that_bench_model_wrote(self):
        config = json.loads((MODEL / "config.json").read_text()) | {"num_hidden_layers": 2, "torch_dtype": "bfloat16"}
        config_file = self.folder / "config.json"
        config_file.write_text(json.dumps(config))
        for recipe in ("emberq4", "fireq", "fp8", "smoothquant", "none"):
            out = self.folder / recipe
            save = ("bench", "model", "--model", config_file, "--recipe", recipe, "--save", out)
            done = emberq(*save)
            self.assertEqual((done.returncode, done.stdout), (0, b""), done.stderr.decode())
            report = self.json_of("bench", "load", "--model", out, "--device", "cpu", "--repeats", 2)
            self.assertEqual(list(report)[:5], ["version", "commit", "device", "date", "command"])
            self.assertEqual(report["file_bytes"], sum(path.stat().st_size for path in out.glob("*.safetensors")))
            self.assertEqual(len(report["rows"]), 2)
            for row in report["rows"]:
                parts = [row[part + "_seconds"] for part in ("backend", "open", "load", "first_token")]
                self.assertGreaterEqual(min(parts), 0)
                self.assertAlmostEqual(row["seconds"], sum(parts))
            self.assertIn("exists already", self.refused(*save))
        self.assertIn("config.json", self.refused("bench", "load", "--model", self.folder / "nothing"))
        self.assertIn("GB/s", emberq("bench", "load", "--model", out, "--device", "cpu").stdout.decode())

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

    def test_what_is_misspelt_is_named_with_what_is_near(self):
        for arguments, words in (
                (["quantise", MODEL, "-o", "x"], ["no command quantise", "did you mean quantize?"]),
                (["eval", "pppl", MODEL], ["emberq eval has no command pppl", "did you mean ppl?"]),
                (["xyzzy"], ["no command xyzzy"]),
                (["generate", MODEL, "--promt", "hi"], ["generate has no option --promt", "did you mean --prompt?"]),
                (["generate", MODEL, "--promt=hi"], ["generate has no option --promt", "did you mean --prompt?"]),
                (["inspect", MODEL, "--frob"], ["inspect has no option --frob"]),
                (["inspect", MODEL, "more"], ["inspect takes no further argument, such as more"]),
                (["eval"], ["emberq eval needs a command: ppl, kl, tasks, needle"]),
                ([], ["emberq needs a command: inspect, "]),
                (["generate", MODEL], ["--prompt is required"])):
            message = self.refused(*arguments)
            for word in words:
                self.assertIn(word, message)
        self.assertNotIn("did you mean", self.refused("xyzzy"))

    def test_an_empty_value_and_a_number_that_is_none_are_refused(self):
        out = self.folder / "x"
        for option, value, command in (
                ("--ids", "", ["logits", MODEL, "-o", out]),
                ("--ids", "1.5", ["logits", MODEL, "-o", out]),
                ("--ids", "0x10", ["logits", MODEL, "-o", out]),
                ("--num-samples", "", ["eval", "ppl", MODEL, "--text", TEXT, "--seq-len", "64"]),
                ("--text", "", ["eval", "ppl", MODEL]),
                ("--seed", "-1", ["generate", MODEL, "--prompt", "x"]),
                ("--max-new-tokens", "99999999999999999999", ["generate", MODEL, "--prompt", "x"]),
                ("--temperature", "nan", ["generate", MODEL, "--prompt", "x"]),
                ("--a8-share", "nan", ["quantize", MODEL, "--recipe", "flexq", "-o", out]),
                ("--target-bits", "", ["quantize", MODEL, "--calib", TEXT, "-o", out]),
                ("--output", "", ["quantize", MODEL, "--recipe", "rtn4"]),
                ("--output", "", ["debug", "inject-outliers", MODEL]),
                ("--threads", "", ["inspect", MODEL]),
                ("--m", "", ["bench", "gemm"])):
            message = self.refused(*command, option, value)
            self.assertIn(option, message)
            self.assertRegex(message, "must be|must not be")
        self.assertEqual(list(self.folder.iterdir()), [])
        self.assertIn("MODEL", self.refused("inspect", ""))
        # Decimal, as it looks: CLI11 would take it for octal.
        self.json_of("logits", MODEL, "--ids", "0100", "-o", out)
        self.assertEqual(tensors_of(out)["input_ids"][2], struct.pack("<i", 100))

    def test_output_that_cannot_be_printed_is_bad_input(self):
        commands = (["recipe", "emberq4"], ["inspect", MODEL, "--json"], ["tokenize", MODEL, "--text", TEXT], ["--help"],
                    ["--version"], ["generate", MODEL, "--prompt", "a", "--greedy", "--max-new-tokens", "3"],
                    ["generate", MODEL, "--prompt", "a", "--max-new-tokens", "3", "--json"],
                    ["eval", "ppl", MODEL, "--text", TEXT, "--seq-len", "64", "--num-samples", "1"])
        for command in commands:
            with open("/dev/full", "wb") as full:
                done = subprocess.run([EMBERQ, *map(str, command)], stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE)
            self.assertEqual(done.stderr, b"emberq: cannot write standard output: No space left on device\n", command)
            self.assertEqual(done.returncode, 2, command)
            done = subprocess.run([EMBERQ, *map(str, command)], stderr=subprocess.PIPE, timeout=PATIENCE,
                                  preexec_fn=lambda: os.close(1))
            self.assertEqual(done.stderr, b"emberq: cannot write standard output: Bad file descriptor\n", command)
            self.assertEqual(done.returncode, 2, command)

    def test_closed_standard_streams_do_not_reach_into_files(self):
        out = self.folder / "logits.safetensors"
        done = subprocess.run([EMBERQ, "logits", MODEL, "--ids", "1", "-o", out], timeout=PATIENCE,
                              preexec_fn=lambda: [os.close(i) for i in range(3)])
        self.assertEqual(done.returncode, 0)
        self.assertEqual(tensors_of(out)["logits"][1], [1, 8192])
        full = open("/dev/full", "wb")
        self.addCleanup(full.close)
        done = subprocess.run([EMBERQ, "inspect", self.folder / "none"], stderr=full, timeout=PATIENCE)
        self.assertEqual(done.returncode, 2, "an error that cannot be printed is still its status")

    def test_a_reader_that_has_gone_ends_the_program_by_sigpipe(self):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([EMBERQ, "inspect", MODEL], stdout=writer, stderr=subprocess.PIPE, timeout=PATIENCE)
        os.close(writer)
        self.assertEqual((done.returncode, done.stderr), (-signal.SIGPIPE, b""))

    def test_paths_that_cannot_be_looked_at_get_one_sentence_and_status_2(self):
        (self.folder / "loop").symlink_to("loop")
        for out in (self.folder / ("a" * 300), self.folder / "loop" / "x"):
            self.refused("quantize", MODEL, "-o", out, "--recipe", "rtn4")
            self.refused("logits", MODEL, "--ids", "1", "-o", out)
        self.refused("inspect", self.folder / "loop")
        broken = self.folder / "broken"
        shutil.copytree(MODEL, broken)
        for name in ("model.safetensors", "tokenizer.json"):
            (broken / name).unlink()
            (broken / name).symlink_to(name)
            message = self.refused("generate", broken, "--prompt", "x")
            self.assertIn(f"broken/{name}: Too many levels of symbolic links", message)
            (broken / name).unlink()
            shutil.copy(MODEL / name, broken)

    def test_a_folder_whose_name_is_not_utf8_is_as_good_as_another(self):
        model = os.fsencode(self.folder) + b"/mod\xe9l"
        shutil.copytree(os.fsencode(MODEL), model)
        text = os.fsencode(self.folder) + b"/t\xe9xt"
        shutil.copy(CALIBRATION, text)
        done = subprocess.run([EMBERQ, "quantize", model, "--recipe", "rtn4", "-o", os.fsencode(self.folder) + b"/\xe9out",
                               "--calib", text, "--report", self.folder / "page.html", "--report-against", "fireq-w4"],
                              capture_output=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("mod\ufffdl", (self.folder / "page.html").read_text())

    def test_a_report_that_could_not_be_made_is_refused_before_the_work(self):
        out, page = self.folder / "out", self.folder / "r.html"
        command = ["quantize", MODEL, "-o", out, "--recipe", "rtn4"]
        calibrated = [*command, "--calib", CALIBRATION, "--num-samples", "2", "--seq-len", "64"]
        for arguments, complaint in (
                ([*calibrated, "--report", self.folder / "nowhere" / "r.html"], "nowhere"),
                ([*calibrated, "--report", self.folder], "names no file"),
                ([*calibrated, "--report", page, "--report-against", "nope"], "nope"),
                ([*command, "--report", page, "--report-against", "nope"], "nope"),
                ([*calibrated, "--report-against", "fireq"], "--report"),
                (["logits", MODEL, "--ids", "1", "-o", self.folder / "nowhere" / "l"], "nowhere"),
                (["quantize", MODEL, "-o", self.folder / "nowhere" / "x", "--recipe", "rtn4"], "nowhere")):
            self.assertIn(complaint, self.refused(*arguments))
            self.assertEqual(list(self.folder.iterdir()), [])
        # In the output itself, which is not there yet.
        self.json_of(*calibrated, "--report", out / "r.html", "--report-against", "fireq-w4")
        self.assertTrue((out / "r.html").exists())

    def test_a_report_whose_comparison_does_not_fit_the_model_is_refused_before_the_work(self):
        model = self.folder / "model"
        shutil.copytree(MODEL, model)
        (self.folder / "out.against-1").mkdir()
        command = ("quantize", model, "-o", self.folder / "out", "--recipe", "rtn4", "--calib", CALIBRATION,
                   "--seq-len", "64", "--report", self.folder / "r.html", "--report-against")
        self.assertIn("out.against-1 exists already", self.refused(*command, "fireq-w4"))
        (self.folder / "out.against-1").rmdir()
        short = self.folder / "short.txt"
        short.write_text("a b c d " * 100)
        self.assertIn("short.txt has", self.refused(
            "quantize", model, "-o", self.folder / "out", "--recipe", "rtn4", "--calib", short, "--seq-len", "64",
            "--report", self.folder / "r.html", "--report-against", "fireq"))
        self.assertEqual({f.name for f in self.folder.iterdir()}, {"model", "short.txt"})

    def test_nothing_is_printed_before_a_prompt_is_checked(self):
        self.refused("generate", MODEL, "--prompt", "hi", "--max-new-tokens", "0")
        self.refused("generate", MODEL, "--prompt", "word " * 3000)
        done = subprocess.run([EMBERQ, "generate", MODEL, "--prompt", b"caf\xe9"], capture_output=True, timeout=PATIENCE)
        self.assertEqual((done.returncode, done.stdout), (2, b""))
        self.assertEqual(done.stderr, b"emberq: --prompt is not UTF-8 at byte 3\n")

    def test_texts_that_are_not_utf8_are_named(self):
        latin = self.folder / "latin1.txt"
        latin.write_bytes(b"caf\xe9 " * 500)
        for command in (["tokenize", MODEL, "--text", latin], ["eval", "ppl", MODEL, "--text", latin],
                        ["eval", "kl", MODEL, MODEL, "--text", latin], ["eval", "needle", MODEL, "--text", latin],
                        ["quantize", MODEL, "-o", self.folder / "x", "--recipe", "fireq", "--calib", CALIBRATION, "--calib", latin,
                         "--seq-len", "64", "--num-samples", "2"]):
            self.assertIn("latin1.txt is not UTF-8 at byte 3", self.refused(*command))

    def test_a_calibration_window_of_no_tokens_is_too_short_and_not_too_long(self):
        self.assertIn("at least one token, not 0", self.refused(
            "quantize", MODEL, "-o", self.folder / "x", "--calib", CALIBRATION, "--seq-len", "0"))

    def test_tokenize_ends_at_ctrl_c(self):
        text = self.folder / "text"
        text.write_bytes(TEXT.read_bytes() * (30_000_000 // TEXT.stat().st_size))
        running = subprocess.Popen([EMBERQ, "tokenize", MODEL, "--text", text], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        caught = 0
        while not caught & 1 << signal.SIGINT - 1:
            status = pathlib.Path(f"/proc/{running.pid}/status").read_text()
            caught = int(status.split("SigCgt:")[1].split()[0], 16)
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=PATIENCE)
        self.assertEqual((running.returncode, errors), (2, b"emberq: interrupted\n"))

    @unittest.skipIf(os.environ.get("EMBERQ_SANITIZE"), "a sanitizer maps more memory than the limits of this test")
    def test_too_little_memory_is_an_error_and_no_loop(self):
        # The loader maps the program, which is five times as large with kernels, before it can say anything.
        program = max(0, os.stat(EMBERQ).st_size - (16 << 20))

        def run(mebibytes, *command):
            limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (program + (mebibytes << 20),) * 2)
            return subprocess.run([EMBERQ, *map(str, command)], capture_output=True, timeout=PATIENCE, preexec_fn=limit,
                                  env=os.environ | {"OMP_NUM_THREADS": "2"})

        for mebibytes in (60, 100, 200, 280, 400):
            for command in (["eval", "ppl", MODEL, "--text", TEXT, "--seq-len", "512", "--num-samples", "1"],
                            ["quantize", MODEL, "-o", self.folder / "out", "--calib", CALIBRATION]):
                done = run(mebibytes, *command)
                message = done.stderr.decode()
                self.assertEqual(done.returncode, 2, message)
                self.assertIn("too little memory", message)
                self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_second_run_is_told_of_the_first_and_harms_nothing(self):
        out = self.folder / "out"
        command = ["quantize", MODEL, "--recipe", "fireq-w4", "-o", out]
        partial = self.folder / "out.partial"
        partial.mkdir()
        (partial / "mine").write_text("x")
        with open(self.folder / "out.partial.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for resume in ([], ["--resume"]):
                message = self.refused(*command, *resume)
                self.assertIn("another run is writing", message)
                self.assertNotIn("--resume goes on", message)
        self.assertEqual((partial / "mine").read_text(), "x")
        shutil.rmtree(partial)
        self.json_of(*command)
        self.assertEqual(list(self.folder.iterdir()), [out])

    def test_a_file_that_another_run_is_writing_is_refused(self):
        out = self.folder / "l.safetensors"
        with open(f"{out}.partial", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.assertIn("another run is writing", self.refused("logits", MODEL, "--ids", "1", "-o", out))
        self.json_of("logits", MODEL, "--ids", "1", "-o", out)
        self.assertEqual(list(self.folder.iterdir()), [out])

    def test_resume_knows_the_text_and_the_weights_by_what_is_in_them(self):
        model, text, out = self.folder / "model", self.folder / "text", self.folder / "out"
        shutil.copytree(MODEL, model)
        shutil.copy(CALIBRATION, text)
        command = ["quantize", model, "--recipe", "fireq", "--calib", text, "--num-samples", "1", "--seq-len", "64",
                   "-o", out]

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

        self.assertIn("--resume goes on", self.refused(*command, preexec_fn=limit))
        weights = model / "model.safetensors"
        for path, complaint in ((text, "another calibration text"), (weights, "other weights")):
            was, times = path.read_bytes(), path.stat()
            path.write_bytes(was[:-1] + bytes([was[-1] ^ 1]))
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            self.assertIn(complaint, self.refused(*command, "--resume"))
            path.write_bytes(was)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
        self.assertIn("another model.safetensors", self.refused(*command, "--resume"))
        os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
        self.assertEqual(self.json_of(*command, "--resume")["resumed_layers"], 4)

    def test_tensors_that_are_none_of_the_model_are_kept_however_many(self):
        model, out = self.folder / "model", self.folder / "out"
        shutil.copytree(MODEL, model)
        raw = (model / "model.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", raw[:8])
        header = json.loads(raw[8 : 8 + length])
        end = len(raw) - 8 - length
        names = [f"mtp.layers.{i}.{'x' * 60}" for i in range(1500)]
        for i, name in enumerate(names):
            header[name] = {"dtype": "F32", "shape": [1], "data_offsets": [end + 4 * i, end + 4 * i + 4]}
        text = json.dumps(header).encode()
        (model / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :] + bytes(4 * 1500))
        self.json_of("quantize", model, "--recipe", "rtn4", "-o", out)
        self.assertLessEqual(set(names), set(json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]))

    def test_standard_error_is_silent_where_it_is_no_terminal(self):
        done = emberq("eval", "ppl", MODEL, "--text", TEXT, "--seq-len", "64", "--num-samples", "2")
        self.assertEqual(done.stderr, b"")


if __name__ == "__main__":
    EMBERQ = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
