/* A simulated libnvidia-ml.so.1: derives every NVML figure from the power over time.
 *
 * The file named by NVML_SIM_STATE is mapped shared. The tests write each card's true power there as a list of events;
 * this library derives from it what NVML would report: an energy counter that steps, power sensors that hold and
 * average. So unmodified pynvml, this meter and others read the same cards, and the true energy is known exactly.
 * The struct is mirrored in __init__.py; `magic` carries its size, so that a difference between the two is detected.
 */
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, LOST = 15 };
enum { MAX_GPUS = 8, MAX_EVENTS = 4096, MAX_PIDS = 16, POLICIES = 12 };

typedef struct {
    int64_t at_ns, ramp_ns;          /* from this moment the power moves linearly to to_w over ramp_ns, then stays */
    double from_w, to_w, energy_j;   /* energy_j: true energy up to at_ns */
} Event;

typedef struct {
    char uuid[80], name[64];
    int64_t period_ns, phase_ns;     /* the counter steps at phase + k * period, */
    int64_t jitter_ns;               /* up to this much later, */
    int64_t lag_ns, smear_ns;        /* holding the energy up to lag before the step, averaged over smear, */
    int64_t quantum_mj;              /* rounded down to this */
    int64_t counter_start_mj, reset_at_ns, stall_at_ns, lost_at_ns; /* 0: never */
    int64_t plain_average_ns;        /* nvmlDeviceGetPowerUsage averages over this */
    int64_t instant_hold_ns, instant_average_ns; /* field 186: refreshed this often, averaged over this */
    int64_t read_ns;                 /* time that one reading of counter or power takes */
    int32_t error_energy, error_plain, error_instant, error_processes, error_violation, error_handle, error_clock_events;
    int32_t mig_error, mig_enabled;
    uint32_t power_limit_mw, temperature_c, sm_clock_mhz;
    int32_t n_pids, n_events;
    uint32_t pids[MAX_PIDS];
    uint64_t violation_ns[POLICIES], clock_event_reasons, calls;
    Event events[MAX_EVENTS];
} Gpu;

typedef struct {
    uint64_t magic;
    int32_t n_gpus, error_init;
    char driver[80];
    Gpu gpus[MAX_GPUS];
} State;

static State *state;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* True energy up to `at` (J), exact: each event is a linear ramp and then a plateau. */
static double energy_j(const Gpu *g, int64_t at) {
    int low = 0, high = g->n_events - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (g->events[middle].at_ns <= at) low = middle; else high = middle - 1;
    }
    const Event *e = &g->events[low];
    double t = (at - e->at_ns) * 1e-9, ramp = e->ramp_ns * 1e-9;
    if (t <= 0) return e->energy_j + e->from_w * t;
    if (t >= ramp) return e->energy_j + (e->from_w + e->to_w) / 2 * ramp + e->to_w * (t - ramp);
    return e->energy_j + e->from_w * t + (e->to_w - e->from_w) * t * t / (2 * ramp);
}

static double mean_w(const Gpu *g, int64_t at, int64_t over_ns) {
    if (over_ns < 1000) over_ns = 1000; /* "now" is a microsecond */
    return (energy_j(g, at) - energy_j(g, at - over_ns)) / (over_ns * 1e-9);
}

/* Time of the k-th step; its delay is a hash of k, the same for every reader. */
static int64_t step_ns(const Gpu *g, int64_t k) {
    uint64_t h = (uint64_t)k * 0x9E3779B97F4A7C15ULL;
    h ^= h >> 31; h *= 0xBF58476D1CE4E5B9ULL; h ^= h >> 29;
    return g->phase_ns + k * g->period_ns + (g->jitter_ns ? (int64_t)(h % (uint64_t)g->jitter_ns) : 0);
}

static uint64_t counter_mj(const Gpu *g, int64_t now) {
    if (g->stall_at_ns && now > g->stall_at_ns) now = g->stall_at_ns;
    int64_t k = (now - g->phase_ns) / g->period_ns + 1;
    while (step_ns(g, k) > now) k--;
    int64_t upto = step_ns(g, k) - g->lag_ns;
    double sum = 0;
    int parts = g->smear_ns ? 64 : 1;
    for (int i = 0; i < parts; i++) sum += energy_j(g, upto - g->smear_ns * i / parts);
    double since = g->reset_at_ns && now > g->reset_at_ns ? energy_j(g, g->reset_at_ns) : -g->counter_start_mj / 1000.0;
    int64_t mj = (int64_t)floor((sum / parts - since) * 1000);
    if (mj < 0) mj = 0;
    return (uint64_t)(mj - mj % g->quantum_mj);
}

static void take_time(const Gpu *g) {
    if (g->read_ns <= 0) return;
    struct timespec t = {g->read_ns / 1000000000LL, g->read_ns % 1000000000LL};
    nanosleep(&t, NULL);
}

/* Every device call starts here: it is counted, and a lost card returns an error. */
static int enter(Gpu *g) {
    if (!g) return INVALID;
    __atomic_add_fetch(&g->calls, 1, __ATOMIC_RELAXED);
    return g->lost_at_ns && now_ns() > g->lost_at_ns ? LOST : OK;
}
#define ENTER(g) do { int code_ = enter(g); if (code_) return code_; } while (0)

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (!state) {
        const char *path = getenv("NVML_SIM_STATE");
        int fd = path ? open(path, O_RDWR) : -1;
        if (fd < 0) return 9; /* driver not loaded */
        void *map = mmap(NULL, sizeof(State), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (map == MAP_FAILED || ((State *)map)->magic != sizeof(State)) return 999;
        state = map;
    }
    return state->error_init;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { static char text[32]; snprintf(text, sizeof text, "simulated error %d", code); return text; }

int nvmlSystemGetDriverVersion(char *out, unsigned n) { snprintf(out, n, "%s", state->driver); return OK; }
int nvmlDeviceGetCount_v2(unsigned *out) { *out = (unsigned)state->n_gpus; return OK; }

static int hand_out(Gpu *g, Gpu **out) {
    ENTER(g);
    if (g->error_handle) return g->error_handle;
    *out = g;
    return OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned i, Gpu **out) {
    return i < (unsigned)state->n_gpus ? hand_out(&state->gpus[i], out) : INVALID;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, Gpu **out) {
    for (int i = 0; i < state->n_gpus; i++)
        if (!strcmp(state->gpus[i].uuid, uuid)) return hand_out(&state->gpus[i], out);
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(Gpu *g, char *out, unsigned n) { ENTER(g); snprintf(out, n, "%s", g->uuid); return OK; }
int nvmlDeviceGetName(Gpu *g, char *out, unsigned n) { ENTER(g); snprintf(out, n, "%s", g->name); return OK; }
int nvmlDeviceGetIndex(Gpu *g, unsigned *out) { ENTER(g); *out = (unsigned)(g - state->gpus); return OK; }
int nvmlDeviceGetArchitecture(Gpu *g, unsigned *out) { ENTER(g); *out = 9; return OK; }
int nvmlDeviceGetTemperature(Gpu *g, unsigned s, unsigned *out) { (void)s; ENTER(g); *out = g->temperature_c; return OK; }
int nvmlDeviceGetClockInfo(Gpu *g, unsigned t, unsigned *out) { (void)t; ENTER(g); *out = g->sm_clock_mhz; return OK; }
int nvmlDeviceGetEnforcedPowerLimit(Gpu *g, unsigned *out) { ENTER(g); *out = g->power_limit_mw; return OK; }
int nvmlDeviceGetPowerManagementLimit(Gpu *g, unsigned *out) { ENTER(g); *out = g->power_limit_mw; return OK; }
int nvmlDeviceGetMemoryInfo(Gpu *g, uint64_t *out) {
    ENTER(g);
    out[0] = 80ULL << 30, out[1] = 79ULL << 30, out[2] = 1ULL << 30;
    return OK;
}
int nvmlDeviceGetMigMode(Gpu *g, unsigned *current, unsigned *pending) {
    ENTER(g);
    if (g->mig_error) return g->mig_error;
    *current = *pending = (unsigned)g->mig_enabled;
    return OK;
}

int nvmlDeviceGetTotalEnergyConsumption(Gpu *g, unsigned long long *out) {
    ENTER(g);
    if (g->error_energy) return g->error_energy;
    take_time(g);
    *out = counter_mj(g, now_ns());
    return OK;
}
int nvmlDeviceGetPowerUsage(Gpu *g, unsigned *out) {
    ENTER(g);
    if (g->error_plain) return g->error_plain;
    take_time(g);
    *out = (unsigned)(mean_w(g, now_ns(), g->plain_average_ns) * 1000);
    return OK;
}

typedef struct {
    uint32_t field, scope;
    int64_t timestamp, latency;
    uint32_t type, code;
    union { uint32_t ui; uint64_t ull; double d; } value;
} FieldValue;
int nvmlDeviceGetFieldValues(Gpu *g, int n, FieldValue *values) {
    ENTER(g);
    for (int i = 0; i < n; i++) {
        values[i].code = values[i].field == 186 ? (uint32_t)g->error_instant : NOT_SUPPORTED;
        if (values[i].code) continue;
        take_time(g);
        int64_t at = now_ns();
        if (g->instant_hold_ns) at -= (at - g->phase_ns) % g->instant_hold_ns;
        values[i].type = 1; /* unsigned int */
        values[i].value.ui = (uint32_t)(mean_w(g, at, g->instant_average_ns) * 1000);
    }
    return OK;
}

int nvmlDeviceGetCurrentClocksEventReasons(Gpu *g, unsigned long long *out) {
    ENTER(g);
    if (g->error_clock_events) return g->error_clock_events;
    *out = g->clock_event_reasons;
    return OK;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(Gpu *g, unsigned long long *out) { return nvmlDeviceGetCurrentClocksEventReasons(g, out); }
int nvmlDeviceGetViolationStatus(Gpu *g, unsigned policy, unsigned long long *out) {
    ENTER(g);
    if (g->error_violation) return g->error_violation;
    if (policy >= POLICIES) return INVALID;
    out[0] = (unsigned long long)now_ns() / 1000, out[1] = g->violation_ns[policy];
    return OK;
}

typedef struct { unsigned pid; unsigned long long memory; unsigned instance, compute_instance; } Process;
int nvmlDeviceGetComputeRunningProcesses_v3(Gpu *g, unsigned *n, Process *out) {
    ENTER(g);
    if (g->error_processes) return g->error_processes;
    unsigned room = *n;
    *n = (unsigned)g->n_pids;
    if (g->n_pids == 0) return OK;
    if (!out || room < *n) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < *n; i++) out[i] = (Process){g->pids[i], 1ULL << 30, ~0u, ~0u};
    return OK;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(Gpu *g, unsigned *n, Process *out) { (void)out; ENTER(g); *n = 0; return OK; }
