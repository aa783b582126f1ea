"""Model against real packets: what people expect, what the model says, what packets do, and what nobody would notice."""
