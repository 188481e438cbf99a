#pragma once

#include <string>

#include "base/json_fwd.h"

namespace emberq {

// One HTML page that shows what a quantization did: plots as SVG, drawn by a script of its own when
// it is opened; nothing is loaded from elsewhere. Every section is optional, and so is every key of
// its rows: what is absent or null is left out of the page, or shown as not measured.
//
//   title, model, recipe, created (a date), version, command: strings
//   summary: bits_per_weight, kv_bits, file_bytes, original_bytes, seconds, peak_rss_bytes,
//     calibration_tokens, parameters
//   methods: name, ppl, ppl_increase (ppl less that of the reference), kl, bits_per_weight,
//     kv_bits, file_bytes, note, measured (bool), source ("this run" or where it was published)
//   linears: layer, module ("self_attn.q_proj"), scheme, bits, sqnr_db (of the weight),
//     output_sqnr_db, kl and ppl (this linear alone quantized), mac_share (0...1), input_absmax,
//     input_rms, activation (its format)
//   keys: layer, kv_head, original and smoothed: max |K| by channel, [head_dim]
//   activations: layer, site, absmax, p999 (99.9 % of |x| are below), rms
//   layer_errors: layer, hidden_error (||x - x'|| / ||x|| after the block), and the parts of it
//     that its attention and its MLP added: attention_share + mlp_share <= 1, the rest came from
//     the blocks before; kv_share is the part of attention_share that is due to the cache
//   choices: what, chosen, why
//   notes: strings
//
// KL is in nats. A floating-point number is written with 6 significant digits, NaN as null.
// InputError where data is no object, or a section is none of these or not of its type.
std::string report_page(const OrderedJson& data);

}  // namespace emberq
