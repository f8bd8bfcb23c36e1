// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Packed programs. packed_model.py makes the arguments from a model file and holds the public texts.
#include "python/bindings.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "common/error.h"
#include "common/parallel.h"
#include "kernels/dispatch.h"
#include "model/device_program.h"
#include "model/program.h"

namespace py = pybind11;

namespace fastcodec {
namespace {

[[noreturn]] void fail_model(const std::string& message) { throw Error(ErrorCode::kModel, message); }

std::string text_of(const py::handle& object, const std::string& what) {
  if (!py::isinstance<py::str>(object)) fail_model(what + " must be a string");
  return object.cast<std::string>();
}

int64_t integer_of(const py::handle& object, const std::string& what) {
  if (!py::isinstance<py::int_>(object) || py::isinstance<py::bool_>(object)) fail_model(what + " must be an integer");
  int overflow = 0;
  const int64_t value = PyLong_AsLongLongAndOverflow(object.ptr(), &overflow);
  if (overflow) fail_model(what + " is out of range");
  return value;
}

Attribute attribute_of(const py::handle& object, const std::string& what) {
  if (py::isinstance<py::str>(object)) return object.cast<std::string>();
  if (!py::isinstance<py::list>(object)) return integer_of(object, what);
  std::vector<std::string> names;
  for (const py::handle item : py::reinterpret_borrow<py::list>(object)) names.push_back(text_of(item, "each name of " + what));
  return names;
}

std::vector<OpSpec> ops_of(const py::list& list) {
  std::vector<OpSpec> ops;
  for (const py::handle item : list) {
    const std::string label = "op " + std::to_string(ops.size());
    if (!py::isinstance<py::dict>(item)) fail_model(label + " must be an object");
    OpSpec op;
    for (const auto& [key, value] : py::reinterpret_borrow<py::dict>(item)) {
      const std::string name = text_of(key, label + ": each key");
      op[name] = attribute_of(value, label + ": '" + name + "'");
    }
    ops.push_back(std::move(op));
  }
  return ops;
}

std::map<std::string, TensorView> tensors_of(const py::dict& dict) {
  std::map<std::string, TensorView> tensors;
  for (const auto& [key, value] : dict) {
    const std::string name = text_of(key, "each tensor name");
    if (!py::isinstance<py::array>(value)) fail_model("tensor '" + name + "' must be a NumPy array");
    const auto array = py::reinterpret_borrow<py::array>(value);
    TensorView view{};
    if (array.dtype().equal(py::dtype::of<uint8_t>())) view.type = TensorView::Type::kU8;
    else if (array.dtype().equal(py::dtype::of<int8_t>())) view.type = TensorView::Type::kI8;
    else if (array.dtype().equal(py::dtype::of<int32_t>())) view.type = TensorView::Type::kI32;
    else fail_model("tensor '" + name + "' must be uint8, int8 or int32");
    if (!(array.flags() & py::array::c_style)) fail_model("tensor '" + name + "' must be C-contiguous");
    for (py::ssize_t i = 0; i < array.ndim(); ++i) view.shape.push_back(array.shape(i));
    view.data = array.data();
    tensors[name] = std::move(view);
  }
  return tensors;
}

// A number of u8 channels, or {"channels": n, "type": t}.
InputSpec input_of(const py::handle& object, const std::string& what) {
  if (!py::isinstance<py::dict>(object)) return {integer_of(object, "channels of " + what)};
  const auto dict = py::reinterpret_borrow<py::dict>(object);
  if (dict.size() != 2 || !dict.contains("channels") || !dict.contains("type")) {
    fail_model(what + " must be a number of channels, or an object of 'channels' and 'type'");
  }
  return {integer_of(dict["channels"], "channels of " + what), text_of(dict["type"], "type of " + what)};
}

const char* name_of(Dtype type) { return type == Dtype::kU8 ? "uint8" : type == Dtype::kI8 ? "int8" : "int16"; }

std::shared_ptr<Program> make_program(const py::dict& inputs, const std::string& output, const py::int_& n_levels,
                                      const py::list& ops, const py::dict& tensors, const std::string& backend) {
  ProgramSpec spec;
  for (const auto& [key, value] : inputs) {
    const std::string name = text_of(key, "each input name");
    spec.inputs[name] = input_of(value, "input '" + name + "'");
  }
  spec.output = output;
  spec.n_levels = integer_of(n_levels, "n_levels");
  spec.ops = ops_of(ops);
  spec.tensors = tensors_of(tensors);
  return std::make_shared<Program>(spec, find_kernels(backend));
}

void require_image(const py::array& array, const char* name, int channels, Dtype type) {
  const bool ok = array.dtype().equal(py::dtype(name_of(type))) && array.ndim() == 3 && (array.flags() & py::array::c_style) &&
                  (array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_);
  if (!ok) throw Error(ErrorCode::kType, std::string(name) + " must be a C-contiguous " + name_of(type) +
                                             " array [height, width, channels]; use numpy.ascontiguousarray");
  if (array.shape(2) != channels) {
    throw Error(ErrorCode::kValue, std::string(name) + " must have " + std::to_string(channels) + " channels, got " +
                                       std::to_string(array.shape(2)));
  }
  if (array.shape(0) > kMaxImageSide || array.shape(1) > kMaxImageSide) {
    throw Error(ErrorCode::kValue, std::string(name) + " must have sides of at most " + std::to_string(kMaxImageSide));
  }
}

using Pair = std::pair<int, int>;

RunArgs run_args(Pair size, int level, Pair out_size, Pair origin, Pair region_size, int threads, size_t max_memory) {
  return {nullptr, size.first, size.second, level, out_size.first, out_size.second, origin.first, origin.second,
          region_size.second, region_size.first, nullptr, threads >= 1 ? threads : num_threads(), max_memory};
}

void run(const Program& program, const py::array& image, py::array out, int level, Pair out_size, Pair origin, int threads,
         size_t max_memory) {
  require_image(image, "image", program.in_channels(), program.in_type());
  require_image(out, "out", program.out_channels(), program.out_type());
  RunArgs args = run_args({image.shape(0), image.shape(1)}, level, out_size, origin, {out.shape(0), out.shape(1)}, threads,
                          max_memory);
  args.image = static_cast<const uint8_t*>(image.data());
  args.out = static_cast<uint8_t*>(out.mutable_data());
  const py::gil_scoped_release unlocked;
  run_program(program, args);
}

size_t work_space(const Program& program, Pair size, Pair out_size, Pair region_size, int threads) {
  return work_space_bytes(program, run_args(size, 0, out_size, {0, 0}, region_size, threads, 0));
}

std::unique_ptr<DeviceProgram> make_device_program(std::shared_ptr<Program> program, const std::string& device, int index, bool sparse) {
  if (device != "cuda" && device != "emulator") {
    throw Error(ErrorCode::kBackend, "device '" + device + "': no such device; use one of: cuda, emulator");
  }
  const py::gil_scoped_release unlocked;
  return std::make_unique<DeviceProgram>(std::move(program), device == "cuda" ? cuda::cuda_device() : cuda::emulator(), index, sparse);
}

void run_on_device(const DeviceProgram& program, uintptr_t image, Pair size, uintptr_t out, int level, Pair out_size,
                   Pair origin, Pair region_size, uintptr_t stream, size_t max_memory, uintptr_t workspace) {
  if (image == 0 || out == 0) throw Error(ErrorCode::kValue, "image and out must be addresses of device memory, got 0");
  if (image % cuda::element_bytes(program.program().in_type()) || out % cuda::element_bytes(program.program().out_type())) {
    throw Error(ErrorCode::kValue, "image and out must be aligned to their elements, int16 to 2 bytes");
  }
  if (workspace % 256) throw Error(ErrorCode::kValue, "workspace must be an address aligned to 256 bytes");
  RunArgs args = run_args(size, level, out_size, origin, region_size, 1, max_memory);
  args.image = reinterpret_cast<const uint8_t*>(image);
  args.out = reinterpret_cast<uint8_t*>(out);
  const py::gil_scoped_release unlocked;
  program.run(args, reinterpret_cast<void*>(stream), reinterpret_cast<void*>(workspace));
}

size_t device_workspace(const DeviceProgram& program, Pair size, Pair out_size, Pair region_size) {
  return program.workspace_bytes(run_args(size, 0, out_size, {0, 0}, region_size, 1, 0));
}

std::vector<std::string> device_steps(const DeviceProgram& program) {
  std::vector<std::string> steps;
  for (const DeviceStep& step : program.steps()) steps.push_back(describe(step, program.program()));
  return steps;
}

}  // namespace

void bind_program(py::module_& m) {
  py::class_<Program, std::shared_ptr<Program>>(m, "Program", "A checked integer program with its weights packed for one CPU backend.")
      .def(py::init(&make_program), py::arg("inputs"), py::arg("output"), py::arg("n_levels"), py::arg("ops"),
           py::arg("tensors"), py::arg("backend") = "", "Raises ModelError naming the operation that is wrong.")
      .def_property_readonly("in_channels", &Program::in_channels, "Channels of the image that run() takes.")
      .def_property_readonly("out_channels", &Program::out_channels, "Channels of the result.")
      .def_property_readonly("in_type", [](const Program& p) { return name_of(p.in_type()); }, "uint8, int8 or int16.")
      .def_property_readonly("out_type", [](const Program& p) { return name_of(p.out_type()); }, "uint8, int8 or int16.")
      .def_property_readonly("scale_log2", &Program::scale_log2, "log2 of output size over image size.")
      .def_property_readonly("align", &Program::align, "What the edges of a window must be multiples of, in input pixels.")
      .def_property_readonly("halo", &Program::halo, "Input pixels around a window's middle that it needs; a multiple of align.")
      .def_property_readonly("backend", [](const Program& p) { return std::string(p.kernels().name); }, "Name of its CPU backend.")
      .def_property_readonly("n_bytes", &Program::bytes, "What the loaded program takes, about.")
      .def("macs", &Program::macs, py::arg("height"), py::arg("width"), "Multiplications for an image of that size.")
      .def("work_space_bytes", &work_space, py::arg("size"), py::arg("out_size"), py::arg("region_size"),
           py::arg("threads") = 0, "Bytes that run() allocates.")
      .def("run", &run, py::arg("image"), py::arg("out"), py::arg("level"), py::arg("out_size"),
           py::arg("origin") = Pair{0, 0}, py::arg("threads") = 0, py::arg("max_memory") = 0,
           "Writes the part of the result that starts at origin (x, y) and has the shape of out. Releases the GIL.");
  py::class_<DeviceProgram>(m, "DeviceProgram", "A program with its tables on a device: 'cuda', or 'emulator' for tests.")
      .def(py::init(&make_device_program), py::arg("program"), py::arg("device") = "cuda", py::arg("index") = 0,
           py::arg("sparse") = false,
           "Raises BackendError where there is no such device. sparse: products that skip zeros where two of each four neighbouring "
           "weights are zero (2:4); the results are the same. Nothing chooses them by itself before a GPU was seen to be faster.")
      .def("run", &run_on_device, py::arg("image"), py::arg("size"), py::arg("out"), py::arg("level"), py::arg("out_size"),
           py::arg("origin"), py::arg("region_size"), py::arg("stream") = 0, py::arg("max_memory") = 0,
           py::arg("workspace") = 0,
           "As Program.run, with addresses of dense device memory, aligned to the elements; queues the work on a CUDA stream. workspace: address of "
           "workspace_bytes() of device memory aligned to 256; 0: allocated in the order of the stream.")
      .def("workspace_bytes", &device_workspace, py::arg("size"), py::arg("out_size"), py::arg("region_size"),
           "Bytes of device memory that run() needs beside image and out.")
      .def_property_readonly("steps", &device_steps, "The kernels chosen for the device, in their order.");
}

}  // namespace fastcodec
