/* Times .tflite files with LiteRT in one process: a plan on stdin, JSON lines on stdout (see README.md).
 *
 * Stands alone: the C library and libLiteRt.so, which is opened by path; nothing is linked to it, so this file compiles
 * without LiteRT's headers. The structures below are those of LiteRT 2.3; their sizes are asserted. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MINIMUM_RUNS = 5, PRIORITY = -10, MOST_MODELS = 256, MOST_TENSORS = 32, LINE = 4096 };
enum { CPU_ACCELERATOR = 1, LOCK_READ = 0, LOCK_WRITE = 1, FLOAT32 = 1 };

/* ---- LiteRT's C API, found by name ------------------------------------------------------------------------------- */

typedef void *Handle;
typedef int Status;
typedef struct { unsigned rank : 7, has_strides : 1; int32_t dims[8]; uint32_t strides[8]; } Layout;
typedef struct { int type; Layout layout; } TensorType;
_Static_assert(sizeof(TensorType) == 72, "LiteRtRankedTensorType");

#define API(X) \
  X(Status, LiteRtCreateEnvironment, int, const void *, Handle *) \
  X(Status, LiteRtCreateModelFromFile, Handle, const char *, Handle *) \
  X(Status, LiteRtCreateOptions, Handle *) \
  X(Status, LiteRtSetOptionsHardwareAccelerators, Handle, int) \
  X(Status, LiteRtCreateOpaqueOptions, const char *, void *, void (*)(void *), Handle *) \
  X(Status, LiteRtAddOpaqueOptions, Handle, Handle) \
  X(Status, LiteRtCreateCompiledModel, Handle, Handle, Handle, Handle *) \
  X(Status, LiteRtGetModelSignature, Handle, size_t, Handle *) \
  X(Status, LiteRtGetNumSignatureInputs, Handle, size_t *) \
  X(Status, LiteRtGetNumSignatureOutputs, Handle, size_t *) \
  X(Status, LiteRtGetSignatureInputTensorByIndex, Handle, size_t, Handle *) \
  X(Status, LiteRtGetSignatureOutputTensorByIndex, Handle, size_t, Handle *) \
  X(Status, LiteRtGetRankedTensorType, Handle, TensorType *) \
  X(Status, LiteRtGetCompiledModelInputBufferRequirements, Handle, size_t, size_t, Handle *) \
  X(Status, LiteRtGetCompiledModelOutputBufferRequirements, Handle, size_t, size_t, Handle *) \
  X(Status, LiteRtCreateManagedTensorBufferFromRequirements, Handle, const TensorType *, Handle, Handle *) \
  X(Status, LiteRtLockTensorBuffer, Handle, void **, int) \
  X(Status, LiteRtUnlockTensorBuffer, Handle) \
  X(Status, LiteRtGetTensorBufferPackedSize, Handle, size_t *) \
  X(Status, LiteRtRunCompiledModel, Handle, size_t, size_t, Handle *, size_t, Handle *) \
  X(void, LiteRtDestroyTensorBuffer, Handle) \
  X(void, LiteRtDestroyCompiledModel, Handle) \
  X(void, LiteRtDestroyOptions, Handle) \
  X(void, LiteRtDestroyModel, Handle)

#define DECLARE(result, name, ...) static result (*name)(__VA_ARGS__);
API(DECLARE)

/* ---- what is said ------------------------------------------------------------------------------------------------ */

static char failure[LINE]; /* what went wrong with the model at hand */

static bool fail(const char *format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(failure, sizeof failure, format, values);
  va_end(values);
  return false;
}

#define TRY(call) \
  do { \
    Status status_ = (call); \
    if (status_) return fail("%.*s failed with status %d", (int)strcspn(#call, "("), #call, status_); \
  } while (0)

static int say_error(int model) {
  char number[16] = "null";
  if (model >= 0) snprintf(number, sizeof number, "%d", model);
  for (char *letter = failure; *letter; letter++)
    if (*letter == '"' || *letter == '\\' || (unsigned char)*letter < ' ') *letter = ' ';
  printf("{\"event\": \"error\", \"model\": %s, \"message\": \"%s\"}\n", number, failure);
  return 1;
}

/* ---- the machine ------------------------------------------------------------------------------------------------- */

static int64_t clock_ns(clockid_t which) {
  struct timespec now;
  clock_gettime(which, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int64_t wall_ns(void) { return clock_ns(CLOCK_MONOTONIC_RAW); }

/* Keep this process and the threads it will start on these cores; false where the system does not allow it. */
static bool pin(const char *cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const char *rest = cores; *rest;) {
    char *end;
    long core = strtol(rest, &end, 10);
    if (end == rest || core < 0 || core >= CPU_SETSIZE) return false;
    CPU_SET(core, &set);
    rest = *end == ',' ? end + 1 : end;
  }
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

static int raise_priority(void) {
  setpriority(PRIO_PROCESS, 0, PRIORITY);
  return getpriority(PRIO_PROCESS, 0);
}

/* ---- models ------------------------------------------------------------------------------------------------------ */

typedef struct {
  Handle model, options, compiled, inputs[MOST_TENSORS], outputs[MOST_TENSORS];
  size_t input_count, output_count;
} Model;

static Handle environment;

static bool open_library(const char *path) {
  void *library = dlopen(path, RTLD_NOW);
  if (!library) return fail("%s", dlerror());
#define FIND(result, name, ...) \
  if (!(name = (result(*)(__VA_ARGS__))dlsym(library, #name))) return fail("%s has no function %s", path, #name);
  API(FIND)
  TRY(LiteRtCreateEnvironment(0, NULL, &environment));
  return true;
}

static bool set_threads(Handle options, int threads) {
  char text[64];
  Handle xnnpack;
  snprintf(text, sizeof text, "num_threads = %d\n", threads);
  TRY(LiteRtCreateOpaqueOptions("xnnpack", strdup(text), free, &xnnpack));
  TRY(LiteRtAddOpaqueOptions(options, xnnpack));
  return true;
}

/* The value of an input at a place: the same on every machine, so that outputs can be compared. */
static float input_value(size_t place) { return (float)((place * 2654435761u >> 16) & 1023) / 512.f - 1.f; }

/* Fill an input: fixed numbers, or zeros for whole-number inputs (always a valid index). */
static bool fill(Handle buffer, bool is_float) {
  void *data;
  size_t bytes;
  TRY(LiteRtGetTensorBufferPackedSize(buffer, &bytes));
  TRY(LiteRtLockTensorBuffer(buffer, &data, LOCK_WRITE));
  if (is_float)
    for (size_t place = 0; place < bytes / sizeof(float); place++) ((float *)data)[place] = input_value(place);
  else
    memset(data, 0, bytes);
  TRY(LiteRtUnlockTensorBuffer(buffer));
  return true;
}

/* Read every byte of a buffer; the sum of its floats, weighted so that no two places can swap unnoticed. */
static bool read_buffer(Handle buffer, double *sum) {
  void *data;
  size_t bytes;
  TRY(LiteRtGetTensorBufferPackedSize(buffer, &bytes));
  TRY(LiteRtLockTensorBuffer(buffer, &data, LOCK_READ));
  for (size_t place = 0; place < bytes / sizeof(float); place++) *sum += ((float *)data)[place] * (double)(1 + place % 7);
  TRY(LiteRtUnlockTensorBuffer(buffer));
  return true;
}

static bool open_buffers(Model *model) {
  Handle signature, tensor, needs;
  TensorType type;
  TRY(LiteRtGetModelSignature(model->model, 0, &signature));
  TRY(LiteRtGetNumSignatureInputs(signature, &model->input_count));
  TRY(LiteRtGetNumSignatureOutputs(signature, &model->output_count));
  if (model->input_count > MOST_TENSORS || model->output_count > MOST_TENSORS)
    return fail("expected at most %d inputs and outputs; got %zu and %zu", MOST_TENSORS, model->input_count,
                model->output_count);
  for (size_t i = 0; i < model->input_count; i++) {
    TRY(LiteRtGetSignatureInputTensorByIndex(signature, i, &tensor));
    TRY(LiteRtGetRankedTensorType(tensor, &type));
    TRY(LiteRtGetCompiledModelInputBufferRequirements(model->compiled, 0, i, &needs));
    TRY(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, needs, &model->inputs[i]));
    if (!fill(model->inputs[i], type.type == FLOAT32)) return false;
  }
  for (size_t i = 0; i < model->output_count; i++) {
    TRY(LiteRtGetSignatureOutputTensorByIndex(signature, i, &tensor));
    TRY(LiteRtGetRankedTensorType(tensor, &type));
    TRY(LiteRtGetCompiledModelOutputBufferRequirements(model->compiled, 0, i, &needs));
    TRY(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, needs, &model->outputs[i]));
  }
  return true;
}

static bool open_model(Model *model, const char *path, int threads) {
  TRY(LiteRtCreateModelFromFile(environment, path, &model->model));
  TRY(LiteRtCreateOptions(&model->options));
  TRY(LiteRtSetOptionsHardwareAccelerators(model->options, CPU_ACCELERATOR));
  if (!set_threads(model->options, threads)) return false;
  TRY(LiteRtCreateCompiledModel(environment, model->model, model->options, &model->compiled));
  return open_buffers(model);
}

static void close_model(Model *model) {
  for (size_t i = 0; i < model->input_count; i++) LiteRtDestroyTensorBuffer(model->inputs[i]);
  for (size_t i = 0; i < model->output_count; i++) LiteRtDestroyTensorBuffer(model->outputs[i]);
  LiteRtDestroyCompiledModel(model->compiled);
  LiteRtDestroyOptions(model->options);
  LiteRtDestroyModel(model->model);
  memset(model, 0, sizeof *model);
}

static bool invoke(Model *model) {
  TRY(LiteRtRunCompiledModel(model->compiled, 0, model->input_count, model->inputs, model->output_count, model->outputs));
  return true;
}

/* Bring inputs and outputs back into the caches, as the kernels before and after would have them. */
static bool warm_activations(Model *model) {
  double sum = 0;
  for (size_t i = 0; i < model->input_count; i++)
    if (!read_buffer(model->inputs[i], &sum)) return false;
  for (size_t i = 0; i < model->output_count; i++)
    if (!read_buffer(model->outputs[i], &sum)) return false;
  return true;
}

/* ---- the plan ---------------------------------------------------------------------------------------------------- */

typedef struct { int model, warmup, runs, cold; double limit_s; } Visit;

typedef struct {
  int threads, model_count, visit_count, checked;
  unsigned deadline_s;
  size_t cold_bytes;
  char cores[LINE];
  char *models[MOST_MODELS];
  Visit *visits;
} Plan;

static bool read_line(Plan *plan, char *line) {
  char key[16], text[LINE] = "";
  Visit visit;
  line[strcspn(line, "\n")] = 0;
  if (sscanf(line, "%15s %4095[^\n]", key, text) < 1) return true; /* an empty line */
  if (!strcmp(key, "threads")) return sscanf(text, "%d", &plan->threads) == 1;
  if (!strcmp(key, "cores")) return sscanf(text, "%4095s", plan->cores) == 1;
  if (!strcmp(key, "cold_bytes")) return sscanf(text, "%zu", &plan->cold_bytes) == 1;
  if (!strcmp(key, "deadline_s")) return sscanf(text, "%u", &plan->deadline_s) == 1;
  if (!strcmp(key, "checksum")) return sscanf(text, "%d", &plan->checked) == 1;
  if (!strcmp(key, "model")) {
    if (plan->model_count == MOST_MODELS) return false;
    plan->models[plan->model_count++] = strdup(text);
    return true;
  }
  if (strcmp(key, "visit")) return false;
  if (sscanf(text, "%d %d %d %lf %d", &visit.model, &visit.warmup, &visit.runs, &visit.limit_s, &visit.cold) != 5)
    return false;
  if (visit.model < 0 || visit.model >= plan->model_count) return false;
  plan->visits = realloc(plan->visits, (size_t)(plan->visit_count + 1) * sizeof visit);
  plan->visits[plan->visit_count++] = visit;
  return true;
}

static bool read_plan(Plan *plan) {
  static char line[2 * LINE];
  while (fgets(line, sizeof line, stdin))
    if (!read_line(plan, line)) return fail("cannot read this line of the plan: %s", line);
  return true;
}

static volatile double swept; /* keeps the compiler from leaving the sweep out */

static void sweep(const double *memory, size_t bytes) {
  double sum = 0;
  for (size_t place = 0; place < bytes / sizeof(double); place++) sum += memory[place];
  swept = sum;
}

static bool time_visit(Model *model, const Visit *visit, const double *memory, size_t cold_bytes) {
  for (int i = 0; i < visit->warmup; i++)
    if (!invoke(model)) return false;
  int64_t *samples = malloc(sizeof *samples * (size_t)(visit->runs + 1));
  int done = 0;
  int64_t start = wall_ns(), thread_start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  for (; done < visit->runs; done++) {
    if (done >= MINIMUM_RUNS && (double)(wall_ns() - start) > visit->limit_s * 1e9) break;
    if (visit->cold) {
      sweep(memory, cold_bytes);
      if (!warm_activations(model)) return false;
    }
    int64_t before = wall_ns();
    if (!invoke(model)) return false;
    samples[done] = wall_ns() - before;
  }
  int64_t wall = wall_ns() - start, cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID) - thread_start;
  printf("{\"event\": \"visit\", \"model\": %d, \"samples_ns\": [", visit->model);
  for (int i = 0; i < done; i++) printf("%s%lld", i ? ", " : "", (long long)samples[i]);
  printf("], \"wall_ns\": %lld, \"cpu_ns\": %lld}\n", (long long)wall, (long long)cpu);
  fflush(stdout);
  free(samples);
  return true;
}

static bool say_checksum(const Plan *plan) {
  Model model = {0};
  double sum = 0;
  if (plan->checked >= plan->model_count) return fail("checksum of model %d of %d", plan->checked, plan->model_count);
  if (!open_model(&model, plan->models[plan->checked], plan->threads) || !invoke(&model)) return false;
  for (size_t i = 0; i < model.output_count; i++)
    if (!read_buffer(model.outputs[i], &sum)) return false;
  close_model(&model);
  printf("{\"event\": \"checksum\", \"model\": %d, \"sum\": %.9g}\n", plan->checked, sum);
  return true;
}

static int carry_out(const Plan *plan) {
  Model models[MOST_MODELS] = {0};
  int last[MOST_MODELS];
  double *memory = calloc(1, plan->cold_bytes + sizeof(double));
  memset(memory, 1, plan->cold_bytes); /* touched, or all of it would be one page of zeros */
  for (int i = 0; i < plan->visit_count; i++) last[plan->visits[i].model] = i;
  if (plan->checked >= 0 && !say_checksum(plan)) return say_error(plan->checked);
  for (int i = 0; i < plan->visit_count; i++) {
    const Visit *visit = &plan->visits[i];
    Model *model = &models[visit->model];
    if (!model->compiled && !open_model(model, plan->models[visit->model], plan->threads)) return say_error(visit->model);
    if (!time_visit(model, visit, memory, plan->cold_bytes)) return say_error(visit->model);
    if (last[visit->model] == i) close_model(model);
  }
  puts("{\"event\": \"done\"}");
  return 0;
}

int main(int count, char **arguments) {
  Plan plan = {.threads = 1, .checked = -1};
  if (count != 2) return fprintf(stderr, "usage: %s path/to/libLiteRt.so < plan\n", arguments[0]), 2;
  if (!read_plan(&plan) || !open_library(arguments[1])) return say_error(-1);
  alarm(plan.deadline_s); /* nobody may be left to stop this process: it ends by itself */
  bool pinned = plan.cores[0] && pin(plan.cores);
  int priority = raise_priority();
  printf("{\"event\": \"ready\", \"core\": ");
  printf(pinned ? "\"%s\"" : "null%s", pinned ? plan.cores : "");
  printf(", \"priority\": %d}\n", priority);
  fflush(stdout);
  return carry_out(&plan);
}
