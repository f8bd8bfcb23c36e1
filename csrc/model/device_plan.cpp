// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Which kernel runs what: convolutions that follow one another go into one kernel where there is one for them.
#include <algorithm>

#include "kernels/cuda/conv_pack.h"
#include "model/device_program.h"

namespace fastcodec {
namespace {

using cuda::Add;
using cuda::FusedKernel;

// What a fused kernel can do.
struct Ability {
  FusedKernel kernel;
  int min_channels, max_channels;  // of the widest value
  int min_layers, max_layers;
  bool i8_result, i16_result;  // may the last layer give them?
};
constexpr Ability kChain = {FusedKernel::kChain32, 1, 32, 2, 5, true, true};
constexpr Ability kRowPairs = {FusedKernel::kRowPairs32, 1, 32, 2, 5, false, true};
constexpr int kMaxPointwise = 64;  // more outputs would make the depthwise convolution in several blocks
constexpr Ability kPair = {FusedKernel::kPair64, 33, 64, 2, 2, false, false};

bool can_fuse(const Op& op) {
  return op.kind == OpKind::kConv && !op.conv.depthwise && op.conv.kernel == 3 && op.conv.stride == 1 && !op.conv.in_signed;
}

bool is_two_of_four(const Op& op) {
  return op.groups == 1 && cuda::is_two_of_four({op.weight.data(), op.channels, op.conv.kernel, op.conv.in_channels});
}

// What the layer behind `chain` would add; false if a fused kernel cannot.
bool find_add(const std::vector<Op>& ops, const std::vector<int>& chain, int i, Add* add) {
  const Op& op = ops[i];
  if (op.in[1] < 0) *add = Add::kNone;
  else if (op.in[1] == op.in[0]) *add = Add::kInput;
  else if (!chain.empty() && op.in[1] == ops[chain.back()].in[0]) *add = Add::kInputBefore;
  else return false;
  return true;
}

// The longest chain of convolutions from operation i on that one kernel can do.
DeviceStep longest_chain(const std::vector<Op>& ops, int i, const Ability& ability) {
  DeviceStep chain{{}, {}, ability.kernel}, best;
  int widest = ops[ops[i].in[0]].channels;
  while (static_cast<int>(chain.ops.size()) < ability.max_layers) {
    const Op& op = ops[i];
    Add add{};
    if (!can_fuse(op) || !find_add(ops, chain.ops, i, &add)) break;
    widest = std::max(widest, op.channels);
    if (widest > ability.max_channels) break;
    chain.ops.push_back(i);
    chain.adds.push_back(add);
    // Is each value but the last read in the chain only?
    bool closed = true;
    for (size_t k = 0; k + 1 < chain.ops.size(); ++k) {
      for (const int reader : ops[chain.ops[k]].readers) {
        closed = closed && std::count(chain.ops.begin() + k + 1, chain.ops.end(), reader) > 0;
      }
    }
    const bool enough = static_cast<int>(chain.ops.size()) >= ability.min_layers && widest >= ability.min_channels;
    const bool right_type = op.type == Dtype::kI8 ? ability.i8_result : op.type == Dtype::kI16 ? ability.i16_result : true;
    if (closed && enough && right_type) best = chain;
    if (op.type != Dtype::kU8) break;
    const auto next = std::find_if(op.readers.begin(), op.readers.end(), [&](int r) { return ops[r].in[0] == i; });
    if (next == op.readers.end()) break;
    i = *next;
  }
  return best;
}

// What one image kernel does from operation i on, if nothing else reads what is between: pixel_unshuffle and phase or
// pixel_shuffle and residual, of at most 16 channels; two pixel_shuffles of a value that lies in planes, and a scale after them.
std::vector<int> moves_at(const std::vector<Op>& ops, int i) {
  const auto only_reader = [&](int of, OpKind kind) {
    const std::vector<int>& readers = ops[of].readers;
    return readers.size() == 1 && ops[readers[0]].kind == kind ? readers[0] : -1;
  };
  if (ops[i].kind == OpKind::kPixelUnshuffle) {
    const int phase = only_reader(i, OpKind::kPhase);
    if (phase >= 0 && ops[phase].channels <= cuda::kPlaneChannels) return {i, phase};
  }
  if (ops[i].kind != OpKind::kPixelShuffle) return {};
  const int residual = only_reader(i, OpKind::kResidual), second = only_reader(i, OpKind::kPixelShuffle);
  if (residual >= 0 && ops[residual].in[1] != i && ops[ops[i].in[0]].channels <= cuda::kPlaneChannels) return {i, residual};
  if (ops[ops[i].in[0]].kind == OpKind::kInput || second < 0) return {};
  const int scale = only_reader(second, OpKind::kScale);
  return scale < 0 ? std::vector<int>{i, second} : std::vector<int>{i, second, scale};
}

// The 1x1 convolution that goes into one kernel with depthwise convolution i; -1 if none does.
int pointwise_after(const std::vector<Op>& ops, int i) {
  const Op& op = ops[i];
  const bool first = op.kind == OpKind::kConv && op.conv.depthwise && op.conv.stride == 1 && op.in[1] < 0 && !op.conv.in_signed &&
                     op.type == Dtype::kU8;
  if (!first || op.readers.size() != 1) return -1;
  const Op& reader = ops[op.readers[0]];
  const bool second = reader.kind == OpKind::kConv && !reader.conv.depthwise && reader.conv.kernel == 1 && reader.conv.stride == 1;
  return second && reader.in[1] != i && reader.channels <= kMaxPointwise ? op.readers[0] : -1;
}

const char* name_of(const Op& op) {
  switch (op.kind) {
    case OpKind::kInput: return "input";
    case OpKind::kPixelUnshuffle: return "pixel_unshuffle";
    case OpKind::kPhase: return "phase";
    case OpKind::kConv: return op.conv.depthwise ? "depthwise" : "conv";
    case OpKind::kScale: return "scale";
    case OpKind::kLookup: return "lookup";
    case OpKind::kPixelShuffle: return "pixel_shuffle";
    case OpKind::kBicubicUp2: return "bicubic_up2";
    case OpKind::kBicubicDown2: return "bicubic_down2";
    case OpKind::kResidual: return "residual";
    case OpKind::kStore: break;
  }
  return "store";
}

}  // namespace

std::string describe(const DeviceStep& step, const Program& program) {
  const char* names[cuda::kFusedKernels] = {"chain32", "row_pairs32", "pair64", "sparse_pair64"};
  if (step.adds.empty()) {
    std::string text = step.sparse ? "sparse " : "";
    const size_t start = text.size();
    for (const int i : step.ops) text += (text.size() == start ? "" : " + ") + std::string(name_of(program.ops()[i]));
    return text;
  }
  return std::string(names[static_cast<int>(step.kernel)]) + " x " + std::to_string(step.ops.size());
}

std::vector<DeviceStep> plan_steps(const Program& program, const cuda::DeviceLimits& limits, bool sparse) {
  // The first that can do anything is taken.
  const std::vector<Ability> abilities = limits.wgmma ? std::vector<Ability>{kPair, kRowPairs, kChain} : std::vector<Ability>{kChain};
  const auto& ops = program.ops();
  std::vector<DeviceStep> steps;
  std::vector<bool> taken(ops.size(), false);
  for (int i = 0; i < static_cast<int>(ops.size()); ++i) {
    if (taken[i]) continue;
    DeviceStep step;
    if (can_fuse(ops[i])) {
      for (const Ability& ability : abilities) {
        if (step.ops.empty()) step = longest_chain(ops, i, ability);
      }
    }
    if (const int pointwise = pointwise_after(ops, i); pointwise >= 0) step.ops = {i, pointwise};
    if (step.ops.empty()) step.ops = moves_at(ops, i);
    if (step.ops.empty()) {
      step.ops = {i};
      step.sparse = sparse && ops[i].kind == OpKind::kConv && !ops[i].conv.depthwise && !ops[i].conv.wide && is_two_of_four(ops[i]);
    } else if (sparse && step.kernel == FusedKernel::kPair64 &&
               std::all_of(step.ops.begin(), step.ops.end(), [&](int k) { return is_two_of_four(ops[k]); })) {
      step.kernel = FusedKernel::kSparsePair64;
    }
    for (const int k : step.ops) taken[k] = true;
    steps.push_back(std::move(step));
  }
  // A chain's inner values have no other readers, so it may run where its last operation stands.
  std::sort(steps.begin(), steps.end(), [](const DeviceStep& a, const DeviceStep& b) { return a.ops.back() < b.ops.back(); });
  return steps;
}

}  // namespace fastcodec
