// @ts-nocheck: made by precompile.ts from modelCard.njk.
/* eslint-disable */
export default (function () {function root(env, context, frame, runtime, cb) {
var lineno = 0;
var colno = 0;
var output = "";
try {
var parentTemplate = null;
output += "---\nbase_model: ";
output += runtime.suppressValue(env.getFilter("yaml").call(context, (runtime.memberLookup((runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "baseModel")),"source")),"hub") || runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "baseModel")),"name"))), env.opts.autoescape);
output += "\nlibrary_name: peft";
if(runtime.contextOrFrameLookup(context, frame, "kind") == "textClassification") {
output += "\npipeline_tag: text-classification";
;
}
else {
output += "\npipeline_tag: text-generation";
;
}
output += "\ntags: [lora, temper]\n---\n\n# ";
output += runtime.suppressValue(env.getFilter("line").call(context, runtime.contextOrFrameLookup(context, frame, "displayName")), env.opts.autoescape);
output += "\n\nA LoRA adapter for `";
output += runtime.suppressValue(runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "baseModel")),"name"), env.opts.autoescape);
output += "`, tuned for ";
output += runtime.suppressValue(runtime.contextOrFrameLookup(context, frame, "kindName"), env.opts.autoescape);
output += " by the fine-tuning job `";
output += runtime.suppressValue(runtime.contextOrFrameLookup(context, frame, "job"), env.opts.autoescape);
output += "`.\n\n| | |\n| --- | --- |\n| Model | `";
output += runtime.suppressValue(runtime.contextOrFrameLookup(context, frame, "modelName"), env.opts.autoescape);
output += "` |\n| Base model | `";
output += runtime.suppressValue(runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "baseModel")),"name"), env.opts.autoescape);
output += "`";
if(runtime.memberLookup((runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "baseModel")),"source")),"hub")) {
output += " ([";
output += runtime.suppressValue(runtime.memberLookup((runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "baseModel")),"source")),"hub"), env.opts.autoescape);
output += "](https://huggingface.co/";
output += runtime.suppressValue(runtime.memberLookup((runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "baseModel")),"source")),"hub"), env.opts.autoescape);
output += "))";
;
}
output += " |";
if(runtime.contextOrFrameLookup(context, frame, "warmStart")) {
output += "\n| Tuned on from | `";
output += runtime.suppressValue(runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "warmStart")),"name"), env.opts.autoescape);
output += "` |";
;
}
output += "\n| Dataset | `";
output += runtime.suppressValue(runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "dataset")),"name"), env.opts.autoescape);
output += "` (";
output += runtime.suppressValue(runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "dataset")),"examples"), env.opts.autoescape);
output += " examples, SHA-256 `";
output += runtime.suppressValue(runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "dataset")),"sha256"), env.opts.autoescape);
output += "`) |\n| Trained on | ";
output += runtime.suppressValue(runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "prepared")),"trainExamples"), env.opts.autoescape);
output += " examples, ";
output += runtime.suppressValue(runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "training")),"steps"), env.opts.autoescape);
output += " steps, ";
output += runtime.suppressValue(runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "training")),"trainedTokens"), env.opts.autoescape);
output += " trained tokens |";
if(runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "prepared")),"evalExamples")) {
output += "\n| Held back for evaluation | ";
output += runtime.suppressValue(runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "prepared")),"evalExamples"), env.opts.autoescape);
output += " examples |";
;
}
if(runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "prepared")),"labels")) {
output += "\n| Labels | ";
output += runtime.suppressValue(runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "prepared")),"labels"), env.opts.autoescape);
output += " |";
;
}
output += "\n\n## Evaluation\n";
if(runtime.contextOrFrameLookup(context, frame, "evaluation")) {
output += "\nBase and tuned model on the same ";
output += runtime.suppressValue(runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "evaluation")),"examples"), env.opts.autoescape);
output += " examples, which training did not see:\n\n| | base | tuned |\n| --- | ---: | ---: |\n| ";
output += runtime.suppressValue(runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "evaluation")),"metric"), env.opts.autoescape);
output += " | ";
output += runtime.suppressValue(env.getFilter("figure").call(context, runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "evaluation")),"base")), env.opts.autoescape);
output += " | ";
output += runtime.suppressValue(env.getFilter("figure").call(context, runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "evaluation")),"tuned")), env.opts.autoescape);
output += " |\n";
;
}
else {
output += "\nThe job asked for no evaluation.\n";
;
}
output += "\n## How to use it\n\nWith PEFT, from the folder with these files:\n\n```python\nfrom peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer\n\nmodel = AutoPeftModelForCausalLM.from_pretrained(\"path/to/this/folder\", device_map=\"auto\")\ntokenizer = AutoTokenizer.from_pretrained(\"path/to/this/folder\")\n";
if(runtime.contextOrFrameLookup(context, frame, "kind") == "conversation") {
output += "prompt = tokenizer.apply_chat_template(\n    [{\"role\": \"user\", \"content\": \"...\"}], add_generation_prompt=True, tokenize=False\n)\ninputs = tokenizer(prompt, add_special_tokens=False, return_tensors=\"pt\").to(model.device)";
;
}
else {
if(runtime.contextOrFrameLookup(context, frame, "kind") == "textClassification") {
output += "inputs = tokenizer(\"the text\" + \"\\n\", return_tensors=\"pt\").to(model.device)  # the model answers with the label";
;
}
else {
output += "inputs = tokenizer(\"your prompt, written as in training\", return_tensors=\"pt\").to(model.device)";
;
}
;
}
output += "\nprint(tokenizer.decode(model.generate(**inputs, max_new_tokens=200)[0], skip_special_tokens=True))\n```\n\nWith vLLM:\n\n```sh\nvllm serve ";
output += runtime.suppressValue(runtime.memberLookup((runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "baseModel")),"source")),"hub") || "path/to/the/base/model", env.opts.autoescape);
output += " --enable-lora --max-lora-rank ";
output += runtime.suppressValue(runtime.contextOrFrameLookup(context, frame, "vllmRank"), env.opts.autoescape);
output += " \\\n  --lora-modules tuned=path/to/this/folder\n```\n\n## Settings\n\n| setting | value | from |\n| --- | --- | --- |";
frame = frame.push();
var t_3 = runtime.contextOrFrameLookup(context, frame, "settingRows");
if(t_3) {t_3 = runtime.fromIterator(t_3);
var t_2 = t_3.length;
for(var t_1=0; t_1 < t_3.length; t_1++) {
var t_4 = t_3[t_1];
frame.set("row", t_4);
frame.set("loop.index", t_1 + 1);
frame.set("loop.index0", t_1);
frame.set("loop.revindex", t_2 - t_1);
frame.set("loop.revindex0", t_2 - t_1 - 1);
frame.set("loop.first", t_1 === 0);
frame.set("loop.last", t_1 === t_2 - 1);
frame.set("loop.length", t_2);
output += "\n| ";
output += runtime.suppressValue(runtime.memberLookup((t_4),"name"), env.opts.autoescape);
output += " | ";
output += runtime.suppressValue(env.getFilter("cell").call(context, runtime.memberLookup((t_4),"value")), env.opts.autoescape);
output += " | ";
output += runtime.suppressValue(runtime.memberLookup((t_4),"origin"), env.opts.autoescape);
output += " |";
;
}
}
frame = frame.pop();
if(runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "targetModules")),"length")) {
output += "\n| target modules | ";
output += runtime.suppressValue(env.getFilter("join").call(context, runtime.contextOrFrameLookup(context, frame, "targetModules"),", "), env.opts.autoescape);
output += " | |";
;
}
if(!env.getTest("null").call(context, runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "training")),"finalLoss")) === true && !env.getTest("undefined").call(context, runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "training")),"finalLoss")) === true) {
output += "\n\nThe last training loss was ";
output += runtime.suppressValue(env.getFilter("figure").call(context, runtime.memberLookup((runtime.contextOrFrameLookup(context, frame, "training")),"finalLoss")), env.opts.autoescape);
output += ".";
;
}
output += "\n\n`lineage.json` beside this file says everything that went into the model: the hashes of the base model, the dataset, the rendered\nexamples and each file, and every setting.\n";
if(parentTemplate) {
parentTemplate.rootRenderFunc(env, context, frame, runtime, cb);
} else {
cb(null, output);
}
;
} catch (e) {
  cb(runtime.handleError(e, lineno, colno));
}
}
return {
root: root
};
})();
