// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: makes a packed program from any bytes, mostly a valid one. A program that is refused must be refused with
// ModelError; one that loads must give the same result on every backend, thread count and region, and under the emulator of
// the CUDA kernels, if these can do it. Image, result and tables are exactly as large as they must be, so that sanitizers see every step past
// them.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "common/error.h"
#include "kernels/dispatch.h"
#include "model/device_program.h"
#include "model/program.h"

using namespace fastcodec;

int n_programs_run = 0;

namespace {

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "fuzz_program: %s\n", what.c_str());
  std::abort();
}

// The input as a stream of choices; zeros when it has run out.
class Choices {
 public:
  Choices(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return size_ == 0; }
  int byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  int below(int n) { return byte() % n; }
  bool rarely() { return byte() >= 250; }

 private:
  const uint8_t* data_;
  size_t size_;
};

struct Value {
  std::string name;
  int channels;
  std::string type;
};

class Maker {
 public:
  explicit Maker(Choices* choices) : in_(*choices) {}
  Maker(const Maker&) = delete;  // the spec points into its memory

  ProgramSpec make() {
    const int channels = in_.rarely() ? in_.byte() * 8 : 1 + in_.below(20);
    static const char* const kTypes[] = {"u8", "u8", "i8", "i16"};
    const std::string type = in_.rarely() ? "u16" : kTypes[in_.below(4)];
    spec_.inputs["image"] = {channels, type};
    spec_.n_levels = 1 + in_.below(3);
    values_.push_back({"image", channels, type});
    const int n_ops = 1 + in_.below(6);
    for (int i = 0; i < n_ops; ++i) add_op();
    spec_.output = in_.rarely() ? "nothing" : values_.back().name;
    return std::move(spec_);
  }

 private:
  void add_op() {
    static const char* const kKinds[] = {"conv", "conv", "conv", "conv", "depthwise", "pixel_unshuffle", "phase",
                                         "pixel_shuffle", "bicubic_up2", "bicubic_down2", "residual", "scale", "scale",
                                         "lookup", "unknown"};
    const std::string kind = kKinds[in_.below(in_.rarely() ? 15 : 14)];
    const Value x = in_.below(4) ? values_.back() : values_[in_.below(static_cast<int>(values_.size()))];
    Value out{"v" + std::to_string(spec_.ops.size()), x.channels, "u8"};
    OpSpec op;
    op["op"] = kind;
    op["in"] = std::vector<std::string>{x.name};
    op["out"] = out.name;
    if (kind == "conv" || kind == "depthwise") {
      make_conv(kind == "depthwise", x, &out, &op);
    } else if (kind == "scale") {
      static const char* const kTypes[] = {"u8", "i8", "i16"};
      op["type"] = out.type = kTypes[in_.below(3)];
      make_tables(x.channels, 0, 0, &op);
    } else if (kind == "lookup") {
      const bool is_signed = in_.below(2);
      op["type"] = out.type = is_signed ? "i8" : "u8";
      op["table"] = tensor(is_signed ? TensorView::Type::kI8 : TensorView::Type::kU8, {in_.below(2) ? 1 : x.channels, 256});
    } else if (kind == "phase") {
      const int planes = 1 + in_.below(4), period = 1 + in_.below(20);
      op["table"] = tensor(TensorView::Type::kU8, {2, planes, period});
      out.channels = x.channels + 2 * planes;
    } else if (kind == "pixel_unshuffle" || kind == "pixel_shuffle") {
      op["factor"] = int64_t{in_.rarely() ? 3 : 2};
      out.channels = kind == "pixel_shuffle" ? std::max(x.channels / 4, 1) : x.channels * 4;
      out.type = x.type;
    } else if (kind == "residual") {
      op["in"] = std::vector<std::string>{x.name, values_[in_.below(static_cast<int>(values_.size()))].name};
    } else {
      out.type = in_.below(2) ? "u8" : "i16";
      op["type"] = out.type;
    }
    if (in_.rarely()) op.erase(in_.below(2) ? "in" : "type");
    if (in_.rarely()) op["stride"] = std::string("2");
    spec_.ops.push_back(std::move(op));
    values_.push_back(out);
  }

  void make_conv(bool depthwise, const Value& x, Value* out, OpSpec* op) {
    const bool wide = x.type == "i16" && !in_.rarely();
    const int kernel = depthwise || (in_.below(3) && !wide) ? 3 : 1;
    if (!depthwise) out->channels = 1 + in_.below(in_.rarely() ? 256 : 40);
    static const char* const kTypes[] = {"u8", "u8", "i8", "i16"};
    out->type = kTypes[in_.below(4)];
    (*op)["type"] = out->type;
    (*op)["stride"] = int64_t{1 + in_.below(5) / 4};
    if (in_.below(3) == 0) (*op)["add"] = values_[in_.below(static_cast<int>(values_.size()))].name;
    int64_t groups = 1;
    if (!depthwise && in_.below(6) == 0) {
      groups = 1 + in_.below(std::min(x.channels, 8));
      while (x.channels % groups && !in_.rarely()) --groups;
      const int n_mine = in_.below(2) ? 16 * (1 + in_.below(2)) : 1 + in_.below(40);
      out->channels = static_cast<int>(groups) * n_mine;
      (*op)["groups"] = groups;
    }
    const int64_t n = out->channels, wrong = in_.rarely() ? 1 : 0;
    (*op)["weight"] = depthwise ? tensor(TensorView::Type::kI8, {n + wrong, 3, 3})
                                : tensor(TensorView::Type::kI8, {n, kernel, kernel, x.channels / groups + wrong});
    make_tables(n, wide ? 13 : 5, 14, op);
  }

  // Level tables: values that are mostly small enough by these shifts.
  void make_tables(int64_t n, int mult_shift, int bias_shift, OpSpec* op) {
    const int64_t rows = in_.below(2) ? 1 : spec_.n_levels;
    (*op)["bias"] = tensor(TensorView::Type::kI32, {rows, n});
    (*op)["mult"] = tensor(TensorView::Type::kI32, {rows, n});
    int32_t* mult = int32_data(std::get<std::string>((*op)["mult"]));
    const int32_t mask = 0x7fffffff >> mult_shift;
    for (int64_t i = 0; i < rows * n; ++i) mult[i] = in_.rarely() ? mult[i] : std::max(mult[i] & mask, 1);
    if (mult_shift == 0 && in_.below(2)) {
      for (int64_t i = 0; i < rows * n; ++i) mult[i] >>= 14;
      for (int64_t i = 0; i < rows * n; ++i) mult[i] = std::max(mult[i], 1);
    }
    int32_t* bias = int32_data(std::get<std::string>((*op)["bias"]));
    for (int64_t i = 0; i < rows * n; ++i) bias[i] = in_.rarely() ? bias[i] : bias[i] >> bias_shift;
  }

  int32_t* int32_data(const std::string& name) { return reinterpret_cast<int32_t*>(memory_[name].get()); }

  // A tensor whose contents follow from one byte: pseudo-random, or all of one value.
  std::string tensor(TensorView::Type type, std::vector<int64_t> shape) {
    const std::string name = "t" + std::to_string(spec_.tensors.size());
    size_t n = type == TensorView::Type::kI32 ? 4 : 1;
    for (const int64_t side : shape) n *= side;
    memory_[name] = std::make_unique<uint8_t[]>(n);
    const int seed = in_.byte();
    uint32_t state = seed * 2654435761u + 1;
    for (size_t i = 0; i < n; ++i) {
      state = state * 1664525u + 1013904223u;
      memory_[name][i] = seed > 240 ? (seed & 1 ? 0x80 : 0x7f) : static_cast<uint8_t>(state >> 24);
    }
    spec_.tensors[name] = {type, std::move(shape), memory_[name].get()};
    return name;
  }

  Choices& in_;
  ProgramSpec spec_{};
  std::vector<Value> values_;
  std::map<std::string, std::unique_ptr<uint8_t[]>> memory_;
};

std::unique_ptr<uint8_t[]> run(const Program& program, RunArgs args, const DeviceProgram* device) {
  const size_t n = static_cast<size_t>(args.n_rows) * args.n_cols * program.ops().back().pixel_bytes();
  std::unique_ptr<uint8_t[]> out(new uint8_t[n]);
  std::fill(out.get(), out.get() + n, uint8_t{0x55});
  args.out = out.get();
  if (device) device->run(args, nullptr);
  else run_program(program, args);
  return out;
}

// Runs one program everywhere and compares.
void compare(const ProgramSpec& spec, const std::shared_ptr<const Program>& reference, Choices* in) {
  const int height = 1 + in->below(40), width = 1 + in->below(60);
  const Op& store = reference->ops().back();
  const Op& result = reference->ops()[store.in[0]];
  const bool is_residual = result.kind == OpKind::kResidual;
  RunArgs args{};
  args.height = height;
  args.width = width;
  args.level = in->below(reference->n_levels());
  args.out_height = args.out_width = 1 << 20;
  for (const int input : {is_residual ? result.in[0] : store.in[0], is_residual ? result.in[1] : store.in[0]}) {
    args.out_height = std::min(args.out_height, reference->ops()[input].scale.apply(height));
    args.out_width = std::min(args.out_width, reference->ops()[input].scale.apply(width));
  }
  if (!is_residual) {
    args.out_height -= in->below(1 << result.scale.ups);
    args.out_width -= in->below(1 << result.scale.ups);
  }
  args.n_cols = args.out_width;
  args.n_rows = args.out_height;
  const size_t n_bytes = static_cast<size_t>(height) * width * reference->ops().front().pixel_bytes();
  std::unique_ptr<uint8_t[]> image(new uint8_t[n_bytes]);
  const int style = in->byte();
  for (size_t i = 0; i < n_bytes; ++i) {
    image[i] = static_cast<uint8_t>(style < 128 ? i * 2654435761u >> 21 : (i * 40503u >> 7 & 1) * 255);
  }
  args.image = image.get();
  const auto expected = run(*reference, args, nullptr);
  RunArgs part = args;  // a region
  part.x = in->below(args.out_width);
  part.y = in->below(args.out_height);
  part.n_cols = 1 + in->below(args.out_width - part.x);
  part.n_rows = 1 + in->below(args.out_height - part.y);

  auto check = [&](const std::string& name, const RunArgs& run_args, const std::unique_ptr<uint8_t[]>& got) {
    const int pixel = store.pixel_bytes(), row_bytes = run_args.n_cols * pixel;
    for (int y = 0; y < run_args.n_rows; ++y) {
      const uint8_t* row = &expected[(static_cast<size_t>(run_args.y + y) * args.out_width + run_args.x) * pixel];
      if (!std::equal(row, row + row_bytes, &got[static_cast<size_t>(y) * row_bytes])) {
        fail(name + " differs from the reference in row " + std::to_string(run_args.y + y));
      }
    }
  };
  for (const BackendStatus& status : backends()) {
    if (!status.available || status.name == "cuda") continue;
    const Program program(spec, find_kernels(status.name));
    for (const int n_threads : {1, 2}) {
      args.n_threads = part.n_threads = n_threads;
      check(status.name, args, run(program, args, nullptr));
      check(status.name + " (region)", part, run(program, part, nullptr));
    }
  }
  for (const int index : {0, 13}) {  // a GPU like sm_80, and one like sm_90a with greedy warps
    std::unique_ptr<DeviceProgram> emulated;
    try {
      emulated = std::make_unique<DeviceProgram>(reference, cuda::emulator(), index);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kBackend) throw;
      return;  // a program for the CPU only
    }
    check("emulator", args, run(*reference, args, emulated.get()));
    check("emulator (region)", part, run(*reference, part, emulated.get()));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Choices in(data, size);
  Maker maker(&in);
  const ProgramSpec spec = maker.make();
  std::shared_ptr<const Program> reference;
  try {
    reference = std::make_shared<Program>(spec, find_kernels("reference"));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kModel) fail(std::string("not a ModelError: ") + error.what());
    return 0;
  }
  try {
    compare(spec, reference, &in);
    ++n_programs_run;
  } catch (const Error& error) {
    // The two inputs of `residual` may differ by more than the result may crop, for some image sizes.
    if (error.code() != ErrorCode::kValue) fail(std::string("not a ValueError: ") + error.what());
  }
  return 0;
}
