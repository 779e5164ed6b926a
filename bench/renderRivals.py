"""The rivals of bench/render.ts: the same file, rendered with the same template in two processes by what people use in Python.

    python renderRivals.py datasets FILE TEMPLATE OUT      datasets.map(num_proc=2) with apply_chat_template(tokenize=False)
    python renderRivals.py jinja2 FILE TEMPLATE OUT        orjson, a compiled jinja2 template, files of text: two processes, half of the file each

Both render in the template's own `train` mode with the literal `<unk>` as the marker. Prints the number of rows.
"""

import multiprocessing
import os
import sys

import jinja2.sandbox
import orjson

UNK = "<unk>"


def read_ranges(path, parts):
    """Byte ranges that end where lines end."""
    size = os.path.getsize(path)
    cuts = [0]
    with open(path, "rb") as file:
        for part in range(1, parts):
            file.seek(size * part // parts)
            file.readline()
            cuts.append(file.tell())
    return list(zip(cuts, [*cuts[1:], size]))


def render_datasets(path, source, out):
    import datasets
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({UNK: 0}, unk_token=UNK)), unk_token=UNK, bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = source

    def render(row):
        return {"text": tokenizer.apply_chat_template(row["messages"], tokenize=False, mode="train")}

    rows = datasets.load_dataset("json", data_files=path, split="train", cache_dir=out)
    return len(rows.map(render, num_proc=2, remove_columns=rows.column_names))


def compile_template(source):
    """As transformers sets jinja2 up, without the second that importing transformers takes."""

    def raise_exception(message):
        raise jinja2.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(source)


def render_range(task):
    path, source, out, start, end = task
    template = compile_template(source)
    rows = 0
    with open(path, "rb") as file, open(f"{out}/{start}.jsonl", "wb") as output:
        file.seek(start)
        while file.tell() < end:
            row = orjson.loads(file.readline())
            text = template.render(messages=row["messages"], mode="train", unk_token=UNK, bos_token="<s>", eos_token="</s>")
            output.write(orjson.dumps({"text": text}) + b"\n")
            rows += 1
    return rows


def render_jinja2(path, source, out):
    with multiprocessing.Pool(2) as pool:
        return sum(pool.map(render_range, [(path, source, out, start, end) for start, end in read_ranges(path, 2)]))


if __name__ == "__main__":
    rival, path, template_path, out = sys.argv[1:5]
    with open(template_path, encoding="utf-8") as file:
        source = file.read()
    print({"datasets": render_datasets, "jinja2": render_jinja2}[rival](path, source, out))
