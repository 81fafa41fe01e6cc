/* A Vulkan layer that lets SAPIEN 2.2.2 render on Mesa's lavapipe.
 *
 * SAPIEN 2.2.2 insists on VK_KHR_external_semaphore_fd, which it needs only to share frames with CUDA. Lavapipe does not
 * offer it. Where the driver below lacks the extension, this layer
 *   - lists it among the device's extensions,
 *   - takes it out of vkCreateDevice and takes VkExportSemaphoreCreateInfo out of vkCreateSemaphore on their way down,
 *   - answers the extension's two entry points with VK_ERROR_FEATURE_NOT_PRESENT.
 * Where the driver has the extension, everything passes through unchanged. Vulkan 1.3 specification, and the loader's
 * "LoaderLayerInterface" document, interface version 2.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

#define LAYER_NAME "VK_LAYER_MAGMA_external_semaphore_fd"
#define EXTENSION VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME
#define EXPORTED __attribute__((visibility("default")))

/* One entry per live VkInstance and VkDevice, found by the loader's dispatch key: the first word of every handle. */
struct entry {
    void *key;
    struct entry *next;
    VkInstance instance;
    /* Of an instance. The loader's own vkGetInstanceProcAddr answers with the top of the chain once the instance exists, so
     * what is below must be looked up while it is being created. */
    PFN_vkGetInstanceProcAddr next_instance_proc;
    PFN_vkDestroyInstance destroy_below;
    PFN_vkEnumerateDeviceExtensionProperties enumerate_below;
    /* Of a device. */
    PFN_vkGetDeviceProcAddr next_device_proc;
    PFN_vkDestroyDevice destroy_device_below;
    PFN_vkCreateSemaphore create_semaphore_below;
    int lacks_extension;
};

static struct entry *entries;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *key_of(const void *handle) { return *(void **)handle; }

static struct entry *find(const void *handle) {
    pthread_mutex_lock(&lock);
    struct entry *entry = entries;
    while (entry && entry->key != key_of(handle)) entry = entry->next;
    pthread_mutex_unlock(&lock);
    return entry;
}

static void insert(struct entry *entry) {
    pthread_mutex_lock(&lock);
    entry->next = entries;
    entries = entry;
    pthread_mutex_unlock(&lock);
}

static struct entry *take_out(const void *handle) {
    pthread_mutex_lock(&lock);
    struct entry **at = &entries;
    while (*at && (*at)->key != key_of(handle)) at = &(*at)->next;
    struct entry *entry = *at;
    if (entry) *at = entry->next;
    pthread_mutex_unlock(&lock);
    return entry;
}

static VkResult driver_lacks_extension(VkPhysicalDevice physical, int *lacks) {
    PFN_vkEnumerateDeviceExtensionProperties enumerate = find(physical)->enumerate_below;
    uint32_t count = 0;
    VkResult result = enumerate(physical, NULL, &count, NULL);
    if (result != VK_SUCCESS) return result;
    VkExtensionProperties *properties = calloc(count + 1, sizeof *properties);
    if (!properties) return VK_ERROR_OUT_OF_HOST_MEMORY;
    result = enumerate(physical, NULL, &count, properties);
    *lacks = 1;
    for (uint32_t i = 0; i < count; i++)
        if (!strcmp(properties[i].extensionName, EXTENSION)) *lacks = 0;
    free(properties);
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL enumerate_device_extensions(
    VkPhysicalDevice physical, const char *layer, uint32_t *count, VkExtensionProperties *properties) {
    static const VkExtensionProperties added = {EXTENSION, VK_KHR_EXTERNAL_SEMAPHORE_FD_SPEC_VERSION};
    if (layer && !strcmp(layer, LAYER_NAME)) {
        if (!properties) { *count = 1; return VK_SUCCESS; }
        if (*count < 1) return VK_INCOMPLETE;
        *count = 1;
        properties[0] = added;
        return VK_SUCCESS;
    }
    PFN_vkEnumerateDeviceExtensionProperties enumerate = find(physical)->enumerate_below;
    int lacks = 0;
    if (!layer) {
        VkResult result = driver_lacks_extension(physical, &lacks);
        if (result != VK_SUCCESS) return result;
    }
    if (!lacks) return enumerate(physical, layer, count, properties);
    if (!properties) {
        VkResult result = enumerate(physical, NULL, count, NULL);
        *count += 1;
        return result;
    }
    uint32_t room = *count, filled = room;
    VkResult result = enumerate(physical, NULL, &filled, properties);
    if (result != VK_SUCCESS || filled == room) {
        *count = filled;
        return result == VK_SUCCESS ? VK_INCOMPLETE : result;
    }
    properties[filled] = added;
    *count = filled + 1;
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(
    const VkInstanceCreateInfo *info, const VkAllocationCallbacks *allocator, VkInstance *instance) {
    VkLayerInstanceCreateInfo *link = (VkLayerInstanceCreateInfo *)info->pNext;
    while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO))
        link = (VkLayerInstanceCreateInfo *)link->pNext;
    if (!link) return VK_ERROR_INITIALIZATION_FAILED;
    PFN_vkGetInstanceProcAddr next = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext; /* the next layer's own link */
    struct entry *entry = calloc(1, sizeof *entry);
    if (!entry) return VK_ERROR_OUT_OF_HOST_MEMORY;
    VkResult result = ((PFN_vkCreateInstance)next(NULL, "vkCreateInstance"))(info, allocator, instance);
    if (result != VK_SUCCESS) { free(entry); return result; }
    entry->key = key_of(*instance);
    entry->instance = *instance;
    entry->next_instance_proc = next;
    entry->destroy_below = (PFN_vkDestroyInstance)next(*instance, "vkDestroyInstance");
    entry->enumerate_below = (PFN_vkEnumerateDeviceExtensionProperties)next(*instance, "vkEnumerateDeviceExtensionProperties");
    insert(entry);
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL destroy_instance(VkInstance instance, const VkAllocationCallbacks *allocator) {
    if (!instance) return;
    struct entry *entry = take_out(instance);
    entry->destroy_below(instance, allocator);
    free(entry);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(
    VkPhysicalDevice physical, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *allocator, VkDevice *device) {
    VkLayerDeviceCreateInfo *link = (VkLayerDeviceCreateInfo *)info->pNext;
    while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO))
        link = (VkLayerDeviceCreateInfo *)link->pNext;
    if (!link) return VK_ERROR_INITIALIZATION_FAILED;
    int lacks = 0;
    VkResult result = driver_lacks_extension(physical, &lacks);
    if (result != VK_SUCCESS) return result;
    PFN_vkGetInstanceProcAddr next_instance = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    PFN_vkGetDeviceProcAddr next_device = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;

    VkDeviceCreateInfo below = *info;
    const char **names = calloc(info->enabledExtensionCount + 1, sizeof *names);
    struct entry *entry = calloc(1, sizeof *entry);
    if (!names || !entry) { free(names); free(entry); return VK_ERROR_OUT_OF_HOST_MEMORY; }
    below.enabledExtensionCount = 0;
    for (uint32_t i = 0; i < info->enabledExtensionCount; i++)
        if (!lacks || strcmp(info->ppEnabledExtensionNames[i], EXTENSION))
            names[below.enabledExtensionCount++] = info->ppEnabledExtensionNames[i];
    below.ppEnabledExtensionNames = names;
    PFN_vkCreateDevice create = (PFN_vkCreateDevice)next_instance(find(physical)->instance, "vkCreateDevice");
    result = create(physical, &below, allocator, device);
    free(names);
    if (result != VK_SUCCESS) { free(entry); return result; }
    entry->key = key_of(*device);
    entry->next_device_proc = next_device;
    entry->destroy_device_below = (PFN_vkDestroyDevice)next_device(*device, "vkDestroyDevice");
    entry->create_semaphore_below = (PFN_vkCreateSemaphore)next_device(*device, "vkCreateSemaphore");
    entry->lacks_extension = lacks;
    insert(entry);
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL destroy_device(VkDevice device, const VkAllocationCallbacks *allocator) {
    if (!device) return;
    struct entry *entry = take_out(device);
    entry->destroy_device_below(device, allocator);
    free(entry);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_semaphore(
    VkDevice device, const VkSemaphoreCreateInfo *info, const VkAllocationCallbacks *allocator, VkSemaphore *semaphore) {
    struct entry *entry = find(device);
    VkSemaphoreCreateInfo below = *info;
    VkSemaphoreTypeCreateInfo type;
    if (entry->lacks_extension) {
        /* Of what may be chained here only the type (binary or timeline) means anything to a driver without sharing. */
        below.pNext = NULL;
        for (const VkBaseInStructure *chained = info->pNext; chained; chained = chained->pNext)
            if (chained->sType == VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO) {
                type = *(const VkSemaphoreTypeCreateInfo *)chained;
                type.pNext = NULL;
                below.pNext = &type;
            }
    }
    return entry->create_semaphore_below(device, &below, allocator, semaphore);
}

static VKAPI_ATTR VkResult VKAPI_CALL get_semaphore_fd(VkDevice device, const VkSemaphoreGetFdInfoKHR *info, int *fd) {
    (void)device, (void)info, (void)fd;
    return VK_ERROR_FEATURE_NOT_PRESENT;
}

static VKAPI_ATTR VkResult VKAPI_CALL import_semaphore_fd(VkDevice device, const VkImportSemaphoreFdInfoKHR *info) {
    (void)device, (void)info;
    return VK_ERROR_FEATURE_NOT_PRESENT;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_proc(VkDevice device, const char *name);

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance_proc(VkInstance instance, const char *name) {
    static const struct { const char *name; PFN_vkVoidFunction function; } own[] = {
        {"vkGetInstanceProcAddr", (PFN_vkVoidFunction)get_instance_proc},
        {"vkGetDeviceProcAddr", (PFN_vkVoidFunction)get_device_proc},
        {"vkCreateInstance", (PFN_vkVoidFunction)create_instance},
        {"vkDestroyInstance", (PFN_vkVoidFunction)destroy_instance},
        {"vkEnumerateDeviceExtensionProperties", (PFN_vkVoidFunction)enumerate_device_extensions},
        {"vkCreateDevice", (PFN_vkVoidFunction)create_device},
        {"vkDestroyDevice", (PFN_vkVoidFunction)destroy_device},
        {"vkCreateSemaphore", (PFN_vkVoidFunction)create_semaphore},
    };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!strcmp(name, own[i].name)) return own[i].function;
    struct entry *entry = instance ? find(instance) : NULL;
    return entry ? entry->next_instance_proc(instance, name) : NULL;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_proc(VkDevice device, const char *name) {
    struct entry *entry = find(device);
    if (!strcmp(name, "vkGetDeviceProcAddr")) return (PFN_vkVoidFunction)get_device_proc;
    if (!strcmp(name, "vkDestroyDevice")) return (PFN_vkVoidFunction)destroy_device;
    if (!strcmp(name, "vkCreateSemaphore")) return (PFN_vkVoidFunction)create_semaphore;
    if (entry->lacks_extension && !strcmp(name, "vkGetSemaphoreFdKHR")) return (PFN_vkVoidFunction)get_semaphore_fd;
    if (entry->lacks_extension && !strcmp(name, "vkImportSemaphoreFdKHR")) return (PFN_vkVoidFunction)import_semaphore_fd;
    return entry->next_device_proc(device, name);
}

EXPORTED VKAPI_ATTR VkResult VKAPI_CALL vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *negotiation) {
    if (negotiation->sType != LAYER_NEGOTIATE_INTERFACE_STRUCT || negotiation->loaderLayerInterfaceVersion < 2)
        return VK_ERROR_INITIALIZATION_FAILED;
    negotiation->loaderLayerInterfaceVersion = 2;
    negotiation->pfnGetInstanceProcAddr = get_instance_proc;
    negotiation->pfnGetDeviceProcAddr = get_device_proc;
    negotiation->pfnGetPhysicalDeviceProcAddr = NULL;
    return VK_SUCCESS;
}
