"""What training takes of its machine, for the charts of trackers."""

import os
import time
from contextlib import suppress

import torch

INTERVAL_SECONDS = 15
PAGE_BYTES = os.sysconf('SC_PAGE_SIZE')


class MachineWatch:
    """Of this process and its GPU; of several ranks, the first's."""

    def __init__(self, device: torch.device):
        self.device = device
        self.taken_at: float | None = None
        self.began, self.cpu = time.monotonic(), time.process_time()

    def sample(self) -> dict:
        """{'machine': …} with the first step and then every INTERVAL_SECONDS, else {}. CPU in per cent of one core since the last
        time, bytes, GPU in per cent of the time of the last second, watts, degrees Celsius. What the machine does not tell is left out."""
        now = time.monotonic()
        if self.taken_at is not None and now - self.taken_at < INTERVAL_SECONDS:
            return {}
        cpu = time.process_time()
        values = {'cpuPercent': round(100 * (cpu - self.cpu) / max(now - self.began, 1e-3), 1)}
        self.taken_at, self.began, self.cpu = now, now, cpu
        with suppress(OSError), open('/proc/self/statm') as file:
            values['memoryBytes'] = int(file.read().split()[1]) * PAGE_BYTES
        if self.device.type == 'cuda':
            values['gpuMemoryBytes'] = torch.cuda.memory_reserved(self.device)
            values |= self.ask_driver()
        return {'machine': values}

    def ask_driver(self) -> dict:
        asked = {
            'gpuPercent': torch.cuda.utilization,
            'gpuPowerWatts': lambda device: torch.cuda.power_draw(device) / 1000,
            'gpuTemperature': torch.cuda.temperature,
        }
        told = {}
        for name, ask in asked.items():
            with suppress(Exception):  # drivers and cards that do not tell have errors of their own
                told[name] = ask(self.device)
        return told
