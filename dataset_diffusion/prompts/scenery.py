"""The words of template captions: what scenes look like, and what classes of each kind can be and do."""

PLACES: dict[str, tuple[str, ...]] = {
    "home": (
        "in a living room",
        "in a cozy apartment",
        "by a window at home",
        "on a wooden floor",
        "in a bright room",
    ),
    "bedroom": ("in a bedroom", "in a small bedroom", "in a child's room", "in a hotel room", "in a sunlit bedroom"),
    "kitchen": (
        "in a kitchen",
        "in a bright kitchen",
        "in a farmhouse kitchen",
        "in a tiny kitchen",
        "in a modern kitchen",
    ),
    "table": (
        *(
            "on a kitchen counter",
            "on a wooden tray",
            "on a white tablecloth",
            "on a picnic blanket",
            "on a marble counter",
        ),
        *("on a cutting board", "on a breakfast tray", "on a checked cloth"),
    ),
    "restaurant": (
        *("in a restaurant", "in a small café", "on a restaurant terrace", "at a birthday party", "in a busy diner"),
        *("at a family dinner",),
    ),
    "bathroom": ("in a bathroom", "in a tiled bathroom", "in a small bathroom", "in front of a bathroom mirror"),
    "office": ("in an office", "in a home office", "in a classroom", "in a meeting room", "in a library"),
    "street": (
        *("on a city street", "on a busy street", "on a narrow street", "in a parking lot", "in a market square"),
        *("in a quiet suburb", "in an old town", "on a sidewalk", "in front of a brick building", "near a bridge"),
    ),
    "road": ("on a country road", "on a mountain road", "on a dirt road", "in a small village", "on a coastal road"),
    "railway": (
        "at a small railway station",
        "on a station platform",
        "at an old railway station",
        "at a busy station",
        "at a railway crossing",
    ),
    "airfield": ("at an airport", "on an airfield", "near a runway", "in front of a hangar"),
    "water": ("on a lake", "on a river", "by a lake", "on a riverbank", "in a small harbor", "at the water's edge"),
    "beach": ("on a beach", "on a sandy beach", "on a rocky beach", "by the sea", "at the seaside"),
    "park": ("in a park", "on a lawn", "under a tree", "on a path in a park", "on a meadow", "near a pond"),
    "garden": ("in a garden", "in a backyard", "on a patio", "by a garden fence", "among flowers"),
    "farm": (
        "on a farm",
        "in a pasture",
        "in a green field",
        "in front of a barn",
        "on a hillside",
        "by a wooden fence",
    ),
    "field": ("on a sports field", "on a grass field", "in a stadium", "on a playing field", "on a school field"),
    "forest": ("in a forest", "on a forest path", "by a stream in the woods", "among tall trees", "in a clearing"),
    "savanna": ("on the savanna", "at a waterhole", "in tall dry grass", "in a nature reserve", "under an acacia tree"),
    "snow": ("in the snow", "on a snowy slope", "in the snowy mountains", "on a snow-covered trail", "at a ski resort"),
    "sky": ("in the sky", "against a blue sky", "against a cloudy sky", "above the clouds", "high in the air"),
    "indoors": ("indoors", "in a room", "in a house", "in a hall", "in a shop", "in a museum", "in a workshop"),
    "outdoors": (
        *("outdoors", "in the countryside", "in a village", "near a forest", "in the mountains", "under a blue sky"),
        *("in a city", "on a hill"),
    ),
}
"""Phrases for the place, by scene."""
ANYWHERE = (
    "in front of a white wall",
    "in front of a brick wall",
    "in a quiet place",
    "in a busy place",
    "on the ground",
)
"""Places for classes that have no scene in common, or no scene at all."""

WITH: dict[str, tuple[str, ...]] = {
    "home": ("a living room with", "a cozy apartment with", "a bright room with"),
    "bedroom": ("a bedroom with", "a tidy bedroom with", "a messy bedroom with"),
    "kitchen": ("a kitchen with", "a modern kitchen with", "an old kitchen with", "a cluttered kitchen with"),
    "table": ("a kitchen counter with", "a wooden tray with", "a picnic blanket with", "a still life of"),
    "restaurant": ("a restaurant with", "a small café with", "a party with", "a restaurant terrace with"),
    "bathroom": ("a bathroom with", "a small bathroom with", "a tiled bathroom with"),
    "office": ("an office with", "a tidy office with", "a classroom with", "a library with"),
    "street": ("a city street with", "a busy street with", "a quiet street with", "a market square with"),
    "road": ("a country road with", "a mountain road with", "a village road with"),
    "railway": ("a railway station with", "a busy station with", "an old railway station with"),
    "airfield": ("an airfield with", "an airport with"),
    "water": ("a lake with", "a riverbank with", "a small harbor with"),
    "beach": ("a beach with", "a crowded beach with", "an empty beach with"),
    "park": ("a park with", "a city park with", "a meadow with"),
    "garden": ("a garden with", "a backyard with", "a patio with"),
    "farm": ("a farm with", "a pasture with", "a farmyard with"),
    "field": ("a sports field with", "a playing field with"),
    "forest": ("a forest with", "a forest path with"),
    "savanna": ("the savanna with", "a waterhole with", "a nature reserve with"),
    "snow": ("a snowy slope with", "a winter landscape with", "a ski resort with"),
    "sky": ("a blue sky with", "a cloudy sky with"),
    "indoors": ("a room with", "a hall with", "a shop with"),
    "outdoors": ("a landscape with", "a village with", "a hillside with"),
}
"""Beginnings of captions that list what a scene contains."""

WEATHER = (
    *("on a sunny day", "on a cloudy day", "on a rainy day", "on a foggy morning", "on a windy day", "after the rain"),
    *("at sunset", "at sunrise", "at dusk", "at night", "in the early morning", "in autumn", "in spring", "in summer"),
    *("in winter", "in bright sunlight"),
)
"""For outdoor scenes."""
LIGHT = (
    *("in soft light", "in warm light", "in bright light", "in dim light", "in the morning light", "in the evening"),
    *("in natural light", "by candlelight", "under a lamp", "in daylight"),
)
"""For indoor scenes."""
WINTRY = (
    "on a sunny day",
    "on a cloudy day",
    "on a windy day",
    "at sunset",
    "at dusk",
    "in winter",
    "in bright sunlight",
)
"""For scenes in the snow."""

CONTRADICTIONS: dict[str, tuple[str, ...]] = {
    "bright": ("in dim light", "by candlelight", "under a lamp", "in the evening"),
    "sunlit": ("in dim light", "by candlelight", "under a lamp", "in the evening"),
    "blue sky": ("on a cloudy day", "on a rainy day", "on a foggy morning", "at dusk", "at night"),
    "cloudy sky": ("on a sunny day", "in bright sunlight"),
    "above the clouds": ("on a rainy day", "on a foggy morning", "after the rain"),
}
"""Words of a place, and the weather and light that contradict them."""

OPENINGS = (
    *("a photo of", "a photograph of", "a picture of", "an image of", "a snapshot of", "a color photo of"),
    *(
        "an amateur photo of",
        "a detailed photo of",
        "a documentary photo of",
        "a film photo of",
        "a professional photo of",
    ),
)
CAMERA = (
    *("seen from the side", "seen from the front", "seen from behind", "seen from above", "from a low angle"),
    *("from a distance", "in close-up", "with a blurred background", "with a shallow depth of field", "in sharp focus"),
    *(
        "taken with a phone",
        "shot with a wide-angle lens",
        "shot with a telephoto lens",
        "at eye level",
    ),
)

NUMBERS = ("two", "two", "three", "several", "a few")

_COLORS = ("red", "blue", "white", "black", "yellow", "green", "gray")

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "person": ("young", "old", "tall", "smiling"),
    "pet": ("small", "young", "old", "brown", "black", "white", "gray", "fluffy", "spotted", "sleepy"),
    "bird": ("small", "large", "white", "black", "gray", "brown", "colorful", "young"),
    "livestock": ("young", "large", "old", "brown", "white", "black", "lone"),
    "wild": ("young", "large", "old", "lone", "huge"),
    "vehicle": (*_COLORS, "old", "vintage", "modern", "shiny", "dusty", "silver", "small", "large"),
    "cycle": (*_COLORS, "old", "vintage", "new", "rusty", "small"),
    "aircraft": ("white", "small", "large", "silver", "vintage", "red and white", "old", "modern"),
    "boat": ("small", "wooden", "old", "white", "blue", "red", "large"),
    "sign": ("old", "new", "rusty", "weathered", "tall", "damaged"),
    "furniture": ("wooden", "old", "modern", "white", "antique", "large", "small", "painted"),
    "seat": ("wooden", "leather", "old", "modern", "white", "gray", "comfortable", "worn", "plastic", "antique"),
    "bench": ("wooden", "stone", "iron", "old", "painted", "empty", "weathered", "green"),
    "sofa": ("leather", "velvet", "gray", "red", "old", "large", "comfortable", "worn", "modern", "striped"),
    "container": ("glass", "plastic", "empty", "full", "half-empty", "small", "large", "green", "blue", "ceramic"),
    "glass": ("empty", "full", "half-empty", "tall", "elegant", "crystal"),
    "bottle": ("glass", "plastic", "empty", "full", "half-empty", "small", "tall", "green", "brown", "clear"),
    "cutlery": ("silver", "shiny", "small", "large", "steel", "plastic", "old", "polished"),
    "fruit": ("ripe", "fresh", "large", "small", "peeled", "half-eaten", "sliced", "organic"),
    "meal": ("homemade", "fresh", "large", "small", "half-eaten", "delicious", "tasty", "freshly made"),
    "device": ("black", "silver", "white", "old", "modern", "small", "new"),
    "appliance": ("white", "silver", "black", "old", "modern", "small", "large", "shiny"),
    "fixture": ("white", "clean", "old", "modern", "ceramic"),
    "bag": ("leather", "canvas", "red", "black", "blue", "brown", "old", "large", "small"),
    "accessory": ("red", "black", "blue", "striped", "colorful", "old", "elegant"),
    "sport": ("red", "blue", "new", "old", "worn", "colorful", "white", "green", "black and white", "used"),
    "plant": ("small", "large", "tall", "leafy", "green", "flowering", "tropical"),
    "object": ("small", "large", "old", "new", "colorful", "worn", "red", "blue"),
    "thing": ("small", "large", "old", "new", "beautiful"),
}
"""Attributes that suit classes of each kind; "thing" is any other class."""

KINDS: dict[str, tuple[str, ...]] = {
    "person": ("person",),
    "pet": ("cat", "dog"),
    "bird": ("bird",),
    "livestock": ("cow", "horse", "sheep"),
    "wild": ("elephant", "bear", "zebra", "giraffe"),
    "vehicle": ("car", "bus", "truck", "train"),
    "cycle": ("bicycle", "motorbike", "motorcycle"),
    "aircraft": ("aeroplane", "airplane"),
    "boat": ("boat",),
    "sign": ("traffic light", "fire hydrant", "stop sign", "parking meter"),
    "furniture": ("dining table", "bed"),
    "seat": ("chair",),
    "bench": ("bench",),
    "sofa": ("sofa", "couch"),
    "container": ("cup", "bowl", "vase"),
    "glass": ("wine glass",),
    "bottle": ("bottle",),
    "cutlery": ("fork", "knife", "spoon"),
    "fruit": ("banana", "apple", "orange", "carrot"),
    "meal": ("sandwich", "hot dog", "pizza", "donut", "cake"),
    "device": ("tv monitor", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    "appliance": ("microwave", "oven", "toaster", "refrigerator", "hair drier"),
    "fixture": ("toilet", "sink"),
    "bag": ("backpack", "handbag", "suitcase"),
    "accessory": ("umbrella", "tie"),
    "sport": (
        *("frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard"),
        *("surfboard", "tennis racket"),
    ),
    "plant": ("potted plant",),
    "object": ("broccoli", "book", "clock", "scissors", "teddy bear", "toothbrush"),
}
"""The class words of each kind."""

SINGLE_KINDS = frozenset({"furniture", "sofa", "fixture", "appliance", "thing"})
"""Kinds of which an image shows only one."""
SINGLE_WORDS = frozenset({"broccoli", "scissors", "skis", "mouse", "train", "tv monitor", "tv"})
"""Words whose plural captions would not use, or of which an image shows only one."""
SINGLE_ATTRIBUTES = frozenset({"lone"})
"""Attributes that several things cannot have."""
UNDESCRIBED_WORDS = frozenset({"broccoli", "scissors", "skis", "mouse"})
"""Words that the attributes of their kind do not suit."""
SPOKEN = {"mouse": "computer mouse", "remote": "remote control"}
"""Clearer names for words that also mean something else; used if the vocabulary knows them."""

PEOPLE = (
    *("a person", "a man", "a woman", "a boy", "a girl", "a young woman", "a young man", "an old man", "an old woman"),
    *("a man in a dark coat", "a woman in a red dress", "a man in a blue shirt", "a woman with long hair"),
    *("a smiling girl", "a man with a beard", "a boy in a striped shirt", "a woman in a raincoat"),
)
"""Mentions of one person."""

ACTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "person": {
        "indoors": ("sitting", "standing", "laughing", "talking", "smiling at the camera", "looking down"),
        "outdoors": ("walking", "standing", "waiting", "looking into the distance", "smiling at the camera", "resting"),
        "kitchen": ("cooking", "standing", "making breakfast", "cleaning up"),
        "office": ("working", "writing", "standing", "reading", "thinking"),
        "snow": ("walking", "standing", "resting", "looking down the slope"),
        "water": ("fishing", "standing", "waving", "resting"),
        "field": ("running", "warming up", "cheering", "standing"),
        "restaurant": ("sitting", "laughing", "eating", "waiting", "talking"),
    },
    "pet": {
        "indoors": ("sleeping", "sitting", "lying", "stretching", "looking up", "looking at the camera"),
        "outdoors": ("running", "sitting", "playing", "standing", "lying", "looking at the camera"),
    },
    "bird": {
        "outdoors": ("perching", "standing", "taking off", "looking for food", "preening", "singing"),
        "sky": ("flying", "gliding", "soaring"),
    },
    "livestock": {"outdoors": ("grazing", "standing", "walking", "resting", "looking at the camera")},
    "wild": {"outdoors": ("walking", "standing", "drinking", "resting", "feeding", "looking at the camera")},
    "vehicle": {"street": ("parked", "waiting"), "road": ("parked", "driving"), "railway": ("stopped", "arriving")},
    "cycle": {"street": ("parked", "left unattended"), "road": ("parked",), "park": ("parked",)},
    "aircraft": {"airfield": ("parked", "taking off", "landing"), "sky": ("flying", "climbing", "turning")},
    "boat": {"water": ("floating", "moored", "drifting"), "beach": ("lying", "stranded")},
}
"""What a class of each kind does, by scene or, if the scene is missing, by "indoors" and "outdoors"."""

TOGETHER: dict[tuple[str, str], tuple[str, ...]] = {
    ("person", "cycle"): ("riding", "pushing", "next to"),
    ("person", "livestock"): ("leading", "feeding", "next to"),
    ("person", "horse"): ("riding", "leading", "feeding"),
    ("person", "pet"): ("petting", "playing with", "holding", "next to"),
    ("person", "bird"): ("watching", "feeding"),
    ("person", "vehicle"): ("next to", "waiting for", "in front of"),
    ("person", "boat"): ("next to", "in front of", "pulling"),
    ("person", "bag"): ("carrying", "with"),
    ("person", "accessory"): ("holding", "with"),
    ("person", "sport"): ("with", "holding", "carrying"),
    ("person", "seat"): ("sitting on", "next to", "leaning on"),
    ("person", "bench"): ("sitting on", "next to", "resting on"),
    ("person", "sofa"): ("sitting on", "lying on", "relaxing on"),
    ("person", "bottle"): ("holding", "drinking from", "reaching for"),
    ("person", "container"): ("holding", "reaching for"),
    ("person", "glass"): ("holding", "raising"),
    ("person", "meal"): ("eating", "holding", "looking at"),
    ("person", "device"): ("looking at", "using"),
    ("person", "plant"): ("watering", "next to", "behind"),
    ("pet", "sofa"): ("sleeping on", "lying on", "sitting on", "next to"),
    ("pet", "seat"): ("sleeping on", "sitting on", "under"),
    ("pet", "furniture"): ("under", "next to", "lying near"),
    ("pet", "pet"): ("playing with", "lying next to", "watching"),
    ("pet", "plant"): ("sniffing", "next to", "behind"),
    ("bottle", "furniture"): ("on",),
    ("container", "furniture"): ("on",),
    ("meal", "furniture"): ("on",),
    ("plant", "furniture"): ("on", "next to"),
    ("device", "furniture"): ("on",),
    ("bird", "boat"): ("perching on", "flying above"),
    ("bird", "seat"): ("perching on", "next to"),
    ("bird", "bench"): ("perching on", "next to"),
    ("bird", "livestock"): ("near", "next to"),
}
"""How a class of one kind relates to the class, by kind or word, that the caption mentions next; else NEXT_TO."""
NEXT_TO = ("next to", "beside", "near", "close to")
